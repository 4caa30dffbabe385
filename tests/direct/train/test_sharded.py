"""Weights cut over two ranks train as whole ones do, to rounding; `out` is `on_two_ranks`'s."""

from __future__ import annotations

import pytest
import torch
from direct_helpers import lines_of

from direct.common.errors import UserError
from direct.models import pipeline
from direct.profiles import profile
from direct.settings import override
from direct.train import sharded


def weights_of(folder):
    return pipeline.load_transformer(folder / "transformer").state_dict()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("two", "one"), [("fsdp", "torch"), ("fsdp-lora", "torch-lora"), ("fsdp-halves", "torch")]
)
def test_two_ranks_are_one_to_fp32_rounding(out, pipeline_folder, two, one):
    """With activation checkpointing, which the one process goes without; "halves" of each clip."""
    for a, b in zip(lines_of(out / two), lines_of(out / one), strict=True):
        for name in ("loss", "d_fm", "d_anc", "grad_norm"):
            assert a[name] == pytest.approx(b[name], rel=1e-6, abs=1e-9)
    found, expected = weights_of(out / two), weights_of(out / one)
    before = pipeline.load_transformer(str(pipeline_folder)).state_dict()
    moved = max((expected[name] - before[name]).abs().max() for name in before)
    assert moved > 1e-3
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=5e-6)


@pytest.mark.slow
def test_two_ranks_are_one_to_bf16_rounding(out):
    two, one = lines_of(out / "fsdp-bf16"), lines_of(out / "torch-bf16")
    assert two[0]["loss"] == one[0]["loss"], "before the first update, to the bit"
    for a, b in zip(two, one, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=2e-3)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=4e-3)


@pytest.mark.slow
@pytest.mark.parametrize("run", ["fsdp-resumed", "fsdp-writing", "fsdp-reading"])
def test_no_kill_nor_clip_nor_cached_reference_changes_a_bit(out, run):
    """Of the run that reads, one rank finds the reference's velocities and the other does not."""
    assert lines_of(out / run) == lines_of(out / "fsdp")
    found, expected = weights_of(out / run), weights_of(out / "fsdp")
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    if run == "fsdp-resumed":
        assert len(list((out / run / "samples").iterdir())) == 4, "two clips, twice"


def test_what_is_not_cut_is_left_as_it_is():
    tensor = torch.randn(3)
    assert sharded.whole(tensor) is tensor and sharded.cut(tensor, torch.zeros(3)) is tensor
    assert not sharded.is_sharded(torch.nn.Linear(2, 2))


def test_what_cannot_be_cut_is_refused(small, monkeypatch):
    model = pipeline.load_transformer(small().model.pipeline)
    for n, said in (
        (1, "needs GPUs"),
        (3, "must divide a clip's 8 tokens and the model's 2 heads"),
    ):
        config = small(train__engine="fsdp", train__context_parallel=3)
        monkeypatch.setattr(torch.accelerator, "device_count", lambda n=n: n - 1)
        with pytest.raises(UserError, match=said):
            sharded.shard(model, config)
    with pytest.raises(UserError, match=r"Wan's transformer alone, not a Linear"):
        sharded.shard(torch.nn.Linear(2, 2), config)
    with pytest.raises(UserError, match=r"context_parallel=2 needs train\.engine=fsdp, not torch"):
        override(profile("tiny"), "train.context_parallel=2")


def test_compiling_cut_weights_is_refused():
    with pytest.raises(
        UserError, match=r"train\.compile=true is not tried with train\.engine=fsdp"
    ):
        override(profile("tiny"), "train.engine=fsdp", "train.compile=true")
