"""What updates the weights: two ranks and one, ZeRO-2 and the plain trainer, adapters."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from direct_helpers import lines_of

from direct.common import ranks
from direct.common.errors import UserError
from direct.models import pipeline as pipeline_module
from direct.profiles import profile
from direct.train import engine


@pytest.mark.slow
def test_one_rank_and_two_have_the_same_losses(out):
    one, two = lines_of(out / "one"), lines_of(out / "whole")
    assert one[0]["d_anc"] == two[0]["d_anc"] == 0  # both start at the reference, rounded alike
    for a, b in zip(one, two, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-3)
        assert a["d_hard"] == pytest.approx(b["d_hard"], rel=1e-3)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=2e-3)
    assert one[0]["loss"] == two[0]["loss"]  # before the first update, to the bit


@pytest.mark.slow
def test_zero_2_in_fp32_is_the_plain_trainer(out):
    for a, b in zip(lines_of(out / "deepspeed"), lines_of(out / "torch"), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-5)
    found, expected = (
        pipeline_module.load_transformer(out / name / "transformer").state_dict()
        for name in ("deepspeed", "torch")
    )
    for key in expected:
        torch.testing.assert_close(found[key], expected[key], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("run", ["poisoned", "overflowed"])
def test_sample_that_is_not_finite_on_one_rank_skips_the_step_on_all(out, run):
    """Its latents, or one element of its v alone: that the loss's mask hides."""
    assert [line["skipped"] for line in lines_of(out / run)] == [False, True, False, False]
    after = pipeline_module.load_transformer(out / run / "transformer")
    assert all(tensor.isfinite().all() for tensor in after.state_dict().values())


@pytest.mark.slow
def test_bf16_weights_have_fp32_masters_that_a_small_rate_moves(out, pipeline_folder):
    """At 1e-6 two steps change 1 % of the bf16 weights; every master moves, and is saved."""
    after = pipeline_module.load_transformer(out / "small" / "transformer").state_dict()
    before = pipeline_module.load_transformer(str(pipeline_folder)).state_dict()
    a, b = (torch.cat([t.flatten() for t in tensors.values()]) for tensors in (after, before))
    assert (a - b).abs().max() < 1e-5
    assert (a != b).float().mean() > 0.99
    assert (a.bfloat16() != b.bfloat16()).float().mean() < 0.03


@pytest.mark.slow
def test_lora_trains_the_adapter_and_its_reference_is_the_base(out, pipeline_folder):
    from diffusers import WanPipeline

    assert lines_of(out / "lora")[0]["d_anc"] == 0 < lines_of(out / "lora")[1]["d_anc"]
    base = pipeline_module.load_transformer(str(pipeline_folder)).state_dict()
    merged = pipeline_module.load_transformer(out / "lora" / "transformer").state_dict()
    changed = {name for name in base if not torch.equal(base[name], merged[name])}
    assert changed and all(name.split(".")[2] in ("attn1", "attn2") for name in changed)

    pipeline = WanPipeline.from_pretrained(pipeline_folder)
    pipeline.load_lora_weights(out / "lora" / "lora")
    pipeline.fuse_lora()
    fused = {
        name.replace(".base_layer", ""): value
        for name, value in pipeline.transformer.state_dict().items()
    }
    for name in changed:
        torch.testing.assert_close(fused[name], merged[name], rtol=1e-5, atol=1e-6)


def test_settings_of_zero_2_are_the_papers_whatever_deepspeeds_defaults():
    settings = engine.deepspeed_settings(profile("wan2.1-t2v-1.3b"), world=4)
    assert settings["train_micro_batch_size_per_gpu"] == 1
    assert settings["gradient_accumulation_steps"] == 2  # 8 = 4 ranks x 1 x 2
    assert settings["gradient_clipping"] == 1.0 and settings["zero_optimization"]["stage"] == 2
    assert settings["bf16"] == {"enabled": True, "check_grad_overflow": True}
    assert settings["data_types"] == {"grad_accum_dtype": "fp32"}


def test_plain_engine_refuses_several_ranks(small, monkeypatch):
    model = pipeline_module.load_transformer(small().model.pipeline).requires_grad_(True)
    monkeypatch.setattr(ranks, "size", lambda: 2)
    with pytest.raises(UserError, match=r"train.engine=torch runs in one process, not in 2"):
        engine.start(model, small())


class Line(torch.nn.Module):
    """Two weights, of which one is trained, and a buffer that is not fp32's to change."""

    def __init__(self):
        super().__init__()
        self.a, self.b = (torch.nn.Parameter(torch.tensor([value])) for value in (2.0, 3.0))
        self.b.requires_grad_(False)
        self.register_buffer("table", torch.tensor([1.25]))

    def forward(self, x):
        return self.a * x + self.b


TRAIN = profile("tiny").train


def plain(**values) -> engine.Engine:
    return engine.Engine(Line(), replace(TRAIN, batch=4, **values))


def test_a_plain_step_is_adamws_first_step_with_decay():
    """By hand: w (1 - rate decay) - rate sign(g), whatever the gradient's size."""
    running = plain(learning_rate=0.1, weight_decay=0.5, clip=1.0)
    running.backward(running(torch.tensor([7.0])).sum())
    running.step()
    assert running.norm() == 7.0, "before clipping"
    assert running.model.a.item() == pytest.approx(2 * (1 - 0.1 * 0.5) - 0.1, rel=1e-6)
    assert running.model.b.item() == 3.0 and running.model.a.grad is None


def test_passes_share_the_mean_of_the_batch():
    running = plain(micro_batch=1, clip=100.0)
    assert running.passes == 4
    for x in (1.0, 2.0, 3.0, 6.0):
        running.backward(running(torch.tensor([x])).sum())
    assert running.model.a.grad.item() == 3.0
    running.step()
    assert running.norm() == 3.0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_changes_nothing(bad):
    running = plain()
    running.backward((running(torch.tensor([1.0])) * bad).sum())
    running.step()
    assert not math.isfinite(running.norm()) and running.model.a.item() == 2.0
    assert engine.moments(running.model, running.optimizer) == ({}, 0)


def test_masters_and_moments_come_back_by_name():
    first, second = plain(), plain()
    for x in (1.0, -2.0):
        first.backward(first(torch.tensor([x])).sum())
        first.step()
    moments, updates = engine.moments(first.model, first.optimizer)
    assert updates == 2 and set(moments) == {"a.exp_avg", "a.exp_avg_sq"}
    weights = engine.masters(first.model, first.optimizer)
    assert set(weights) == {"a"}
    engine.put(second.model, second.optimizer, weights, moments, updates)
    for running in (first, second):  # and goes on alike
        running.backward(running(torch.tensor([0.5])).sum())
        running.step()
    assert torch.equal(first.model.a, second.model.a)


def test_weights_are_cast_in_place_and_what_they_were_cast_from_stays():
    """The fp32 weights that the masters start from."""
    model = Line()
    before = {name: p.detach() for name, p in model.named_parameters()}
    engine._place(model, torch.float32, copy=True)
    with torch.no_grad():
        model.a.add_(1.0)
    assert before["a"].item() == 2.0 and model.a.item() == 3.0, "the masters' start is not it"
    trained = model.a
    engine._place(model, torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert model.a is trained and model.table.dtype == torch.float32


def test_a_frozen_reference_is_cast_but_for_its_buffers():
    base = engine.frozen(Line(), torch.bfloat16)
    assert {p.dtype for p in base.parameters()} == {torch.bfloat16}
    assert not any(p.requires_grad for p in base.parameters())
    assert base.table.dtype == torch.float32
