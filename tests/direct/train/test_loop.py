"""The loop of a training: exact resume, what starts it, what ends it; alone and on two ranks."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from direct_helpers import Killed, bytes_of, killed_at, lines_of
from safetensors.torch import load_file
from small_wan import overflowing

from direct.common import errors, preempt
from direct.common.errors import UserError
from direct.config import Run
from direct.models import pipeline
from direct.prepare import shared
from direct.settings import with_values
from direct.train import loop, trajectory
from direct.train import step as stepping
from direct.train.batch import load_batch


@pytest.mark.slow
def test_run_killed_twice_equals_an_uninterrupted_one(small, tmp_path):
    config, cache = small(), tmp_path / "cache"
    loop.train(Run(config, cache, tmp_path / "whole"))
    progress = killed_at(("train", 3), ("train", 5))  # one step past a checkpoint each time
    for _ in range(2):
        with pytest.raises(Killed):
            loop.train(Run(config, cache, tmp_path / "killed", progress=progress))
        assert not (tmp_path / "killed" / "transformer").exists()
    loop.train(Run(config, cache, tmp_path / "killed", progress=progress))
    assert bytes_of(tmp_path / "killed") == bytes_of(tmp_path / "whole")
    steps = [json.loads(line)["step"] for line in (tmp_path / "whole/metrics.jsonl").open()]
    assert steps == [1, 2, 3, 4, 5, 6]
    assert not (tmp_path / "whole" / "checkpoints").exists()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler here")
def test_compiled_transformers_train_alike(small, tmp_path):
    """`train.compile` for the trained model and its reference: the same steps but for rounding."""
    found = {}
    for compiled in (False, True):
        run = tmp_path / str(compiled)
        config = small(train__compile=compiled, train__steps=2)
        loop.train(Run(config, tmp_path / "cache", run))
        lines = [json.loads(line) for line in (run / "metrics.jsonl").open()]
        found[compiled] = [line["loss"] for line in lines]
        weights = load_file(run / "transformer/diffusion_pytorch_model.safetensors")
        assert not any("_orig_mod" in name for name in weights)
    assert found[True] == pytest.approx(found[False], rel=1e-4) and len(found[True]) == 2


@pytest.mark.slow
def test_damaged_checkpoint_is_named_set_aside_and_the_one_before_taken(small, tmp_path, capsys):
    config, cache, run = small(), tmp_path / "cache", tmp_path / "run"
    loop.train(Run(config, cache, tmp_path / "whole"))
    with pytest.raises(Killed):
        loop.train(Run(config, cache, run, progress=killed_at(("train", 5))))
    newest = run / "checkpoints" / "step-00000004" / "weights.safetensors"
    data = bytearray(newest.read_bytes())
    data[-1] ^= 1
    newest.write_bytes(data)
    loop.train(Run(config, cache, run))
    assert "weights.safetensors is damaged" in capsys.readouterr().out
    assert bytes_of(run) == bytes_of(tmp_path / "whole")


@pytest.mark.slow
def test_finished_run_returns_at_once_and_zero_shot_saves_nothing(small, tmp_path, monkeypatch):
    config, cache = small(train__steps=1), tmp_path / "cache"
    final = loop.train(Run(config, cache, tmp_path / "run"))
    monkeypatch.setattr(loop, "_train", lambda *_: pytest.fail("trained again"))
    assert loop.train(Run(config, cache, tmp_path / "run")) == final
    loop.train(Run(small(train__steps=0), cache, tmp_path / "zero"))
    assert not (tmp_path / "zero").exists()


@pytest.mark.slow
def test_reference_runs_only_where_it_is_anchored_to(small, tmp_path, monkeypatch):
    loaded = []
    real = pipeline.load_transformer
    monkeypatch.setattr(
        pipeline, "load_transformer", lambda *a, **k: loaded.append(a) or real(*a, **k)
    )
    values = {"train__steps": 1, "loss__lambda_hard": 0.0}
    loop.train(Run(small(loss__lambda_anc=0.0, **values), tmp_path / "c", tmp_path / "a"))
    alone = len(loaded)
    loop.train(Run(small(loss__lambda_anc=0.2, **values), tmp_path / "c", tmp_path / "b"))
    assert len(loaded) - alone == alone + 1
    assert json.loads((tmp_path / "a/metrics.jsonl").read_text())["d_anc"] is None


@pytest.mark.slow
def test_an_adapter_whose_merged_weights_were_not_written_is_exported_again(
    small, tmp_path, monkeypatch
):
    """A kill, or a full disk, between the two folders of a LoRA run."""
    run = Run(small(train__lora_rank=2), tmp_path / "c", tmp_path / "run")
    save = loop._save
    monkeypatch.setattr(loop, "_save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        loop.train(run)
    assert (tmp_path / "run/lora").is_dir() and not (tmp_path / "run/transformer").exists()
    monkeypatch.setattr(loop, "_save", save)
    assert loop.train(run).is_dir()


@pytest.mark.parametrize("keep_last", [False, True])
def test_an_export_that_fails_costs_no_step(small, tmp_path, monkeypatch, keep_last):
    """The last step is in a checkpoint by then, whether or not it is kept for a longer run."""
    config = small(train__steps=3, train__checkpoint_every=100, train__keep_last=keep_last)
    run = Run(config, tmp_path / "c", tmp_path / "run")
    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(loop, "_export", lambda *_: (_ for _ in ()).throw(MemoryError))
        loop.train(run)
    told = (tmp_path / "run/metrics.jsonl").read_bytes()
    monkeypatch.setattr(loop, "train_step", lambda *_: pytest.fail("a step is taken again"))
    assert loop.train(run).is_dir()
    assert (tmp_path / "run/metrics.jsonl").read_bytes() == told
    assert not (tmp_path / "run/checkpoints").exists()


def test_what_is_trained_and_its_reference_are_loaded_beside_the_device(
    small, tmp_path, monkeypatch
):
    """fp32 weights of 14B do not fit a 48 GB card: an engine moves them in its own precision."""
    monkeypatch.setattr(pipeline, "device", lambda: torch.device("meta"))
    config = small(train__lora_rank=0)
    model = loop.initial_model(Run(config, tmp_path, tmp_path / "run"))
    assert {p.device.type for p in model.parameters()} == {"cpu"}
    monkeypatch.setattr(loop.engine, "frozen", lambda base, *_: base)  # which moves it
    reference = loop.frozen_reference(config, SimpleNamespace(dtype=torch.bfloat16))
    assert {p.device.type for p in reference.parameters()} == {"cpu"}


def test_a_measuring_cell_is_no_training(small, tmp_path):
    """And the SFT run that it may start from is that of the scores' cells, half of their steps."""
    config = small(measure__kind="alignment", measure__steps=10, train__init="sft")
    with pytest.raises(UserError, match=r"measure\.kind=alignment"):
        loop.train(Run(config, tmp_path / "c", tmp_path / "run"))
    scores = small(train__init="sft")
    assert loop.sft_config(config) == loop.sft_config(scores)
    assert shared.steps(loop.sft_config(config)) == range(3)


@pytest.mark.slow
def test_nan_skips_the_step_and_three_in_a_row_diverge(small, tmp_path, monkeypatch):
    real = load_batch

    def poisoned(bad):
        def load(config, data, step, rows=None):
            batch = real(config, data, step, rows)
            return replace(batch, x=batch.x * torch.nan) if step in bad else batch

        return load

    config, cache = small(train__checkpoint_every=100), tmp_path / "cache"
    monkeypatch.setattr("direct.train.batch.load_batch", poisoned({1, 2, 4}))
    loop.train(Run(config, cache, tmp_path / "skips"))
    lines = [json.loads(line) for line in (tmp_path / "skips/metrics.jsonl").open()]
    assert [line["skipped"] for line in lines] == [False, True, True, False, True, False]
    assert lines[1]["grad_norm"] is None and lines[3]["loss"] is not None
    monkeypatch.setattr("direct.train.batch.load_batch", poisoned({2, 3, 4}))
    with pytest.raises(errors.Diverged) as caught:
        loop.train(Run(config, cache, tmp_path / "diverges"))
    assert caught.value.step == 5 and "non-finite" in caught.value.reason


@pytest.mark.slow
@pytest.mark.parametrize("passes", [1, 4])
def test_one_infinite_element_of_v_skips_the_step(small, tmp_path, monkeypatch, passes):
    """The loss's mask hides it: without the kernel's count nothing would be skipped."""
    config = small(train__micro_batch=4 // passes, train__checkpoint_every=100)
    cache, real, loss = tmp_path / "cache", pipeline.velocity, stepping.velocity_loss
    spoilt = overflowing(real, [passes, 3 * passes + passes // 2])  # in the second and fourth step
    monkeypatch.setattr(pipeline, "velocity", spoilt)
    loop.train(Run(config, cache, tmp_path / "counted"))
    lines = lines_of(tmp_path / "counted")
    assert [line["skipped"] for line in lines] == [False, True, False, True, False, False]
    assert lines[1]["grad_norm"] is None and all(line["loss"] is not None for line in lines)

    def blind(*arguments, **options):
        out = loss(*arguments, **options)
        return out._replace(nonfinite=torch.zeros_like(out.nonfinite))

    monkeypatch.setattr(stepping, "velocity_loss", blind)
    monkeypatch.setattr(pipeline, "velocity", overflowing(real, [passes]))
    loop.train(Run(config, cache, tmp_path / "blind"))
    assert not any(line["skipped"] for line in lines_of(tmp_path / "blind"))

    monkeypatch.setattr(stepping, "velocity_loss", loss)
    monkeypatch.setattr(pipeline, "velocity", overflowing(real, range(2 * passes, 5 * passes)))
    with pytest.raises(errors.Diverged, match="step 5"):
        loop.train(Run(config, cache, tmp_path / "diverges"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "values", [{}, {"train__micro_batch": 1}, {"model__dtype": "bfloat16"}], ids=str
)
def test_guard_leaves_a_finite_training_as_it_was(small, tmp_path, monkeypatch, values):
    """To the byte what it was when a term of value 0 stood for the guard."""
    config, cache, real = (
        small(train__steps=3, **values),
        tmp_path / "cache",
        stepping.velocity_loss,
    )
    loop.train(Run(config, cache, tmp_path / "now"))

    def before(v, *arguments, **options):
        out = real(v, *arguments, **options)
        return SimpleNamespace(**out._asdict(), guarded=lambda: out.loss + 0 * v.float().sum())

    monkeypatch.setattr(stepping, "velocity_loss", before)
    loop.train(Run(config, cache, tmp_path / "before"))
    assert bytes_of(tmp_path / "now") == bytes_of(tmp_path / "before")


@pytest.mark.slow
def test_sft_start_is_the_sft_cell_of_half_the_steps(small, tmp_path):
    config = small(train__init="sft")
    sft = loop.sft_config(config)
    loop.train(Run(config, tmp_path, tmp_path / "run"))
    half = tmp_path / "runs" / trajectory.cell(sft)
    first = [json.loads(line) for line in (half / "metrics.jsonl").open()]
    second = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").open()]
    assert [line["step"] for line in first + second] == [1, 2, 3, 4, 5, 6]
    assert all(line["d_hard"] is None and line["d_anc"] is not None for line in first)
    assert all(line["d_hard"] is not None for line in second)
    assert sft == loop.sft_config(small(train__init="sft", macro__clusters=2))


@pytest.mark.slow
def test_bfloat16_forward_passes_train_fp32_weights(small, tmp_path):
    config = small(model__dtype="bfloat16", train__steps=1, train__learning_rate=1e-6)
    folder = loop.train(Run(config, tmp_path / "cache", tmp_path / "run"))
    after, before = (
        pipeline.load_transformer(folder),
        pipeline.load_transformer(config.model.pipeline),
    )
    moved = [
        (a - b).abs().max().item()
        for a, b in zip(after.parameters(), before.parameters(), strict=True)
    ]
    assert max(moved) < 1e-5 and np.mean(np.array(moved) > 0) > 0.9  # bf16 weights would not move


@pytest.mark.slow
def test_micro_batches_and_checkpointed_activations_change_rounding_alone(small, tmp_path):
    losses = []
    for name, values in {
        "whole": {},
        "parts": {"train__micro_batch": 1},
        "recomputed": {"train__gradient_checkpointing": True},
    }.items():
        loop.train(Run(small(**values), tmp_path / "cache", tmp_path / name))
        losses.append([line["loss"] for line in lines_of(tmp_path / name)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0] == pytest.approx(losses[2], rel=1e-5)


@pytest.mark.slow
def test_resuming_a_run_with_another_configuration_is_refused(small, tmp_path, monkeypatch):
    def stop(stage, done, total):
        if (stage, done) == ("train", 3):
            raise preempt.Preempted

    run = tmp_path / "run"
    with pytest.raises(preempt.Preempted):
        loop.train(Run(small(), tmp_path / "cache", run, progress=stop))
    other = with_values(small(), {"loss.lambda_hard": 0.01})
    with pytest.raises(UserError, match="belongs to another configuration"):
        loop.train(Run(other, tmp_path / "cache", run))


FILES = ("metrics.jsonl", "transformer/diffusion_pytorch_model.safetensors")


def told(out: Path) -> list[dict]:
    return [json.loads((out / f"rank-{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.slow
def test_killed_and_stopped_it_goes_on_to_the_same_bytes(out):
    for rank in told(out):
        assert rank["killed"] and "run again" in rank["stopped"]  # one rank alone got the signal
        assert rank["checkpoints"] == ["step-00000002", "step-00000003"]
    for name in FILES:
        assert (out / "resumed" / name).read_bytes() == (out / "whole" / name).read_bytes()


@pytest.mark.slow
def test_asked_to_stop_while_one_rank_prepares_the_data_all_stop(out):
    assert all("run again" in rank["preparing"] for rank in told(out))


@pytest.mark.slow
def test_rank_that_fails_is_named_on_all_and_nothing_is_left_half_written(out):
    first, second = told(out)
    assert first["unreadable"] == "UserError: rank 1: shard 7 is cut short"
    assert second["unreadable"] == "OSError: shard 7 is cut short"
    assert "no space left" in first["full"] and "rank 0: no space left" in second["full"]
    assert first["left"] == second["left"] == []


@pytest.mark.slow
def test_two_ranks_go_on_from_their_sft_run(out):
    """Rank 0 alone exports: what it starts from is read there, not trained again by all ranks."""
    (first,) = (out / "cache" / "runs").iterdir()
    assert [len(lines_of(run)) for run in (first, out / "sft")] == [2, 2]
    before, after = (
        pipeline.load_transformer(run / "transformer").state_dict() for run in (first, out / "sft")
    )
    assert any(not torch.equal(before[name], after[name]) for name in before)
