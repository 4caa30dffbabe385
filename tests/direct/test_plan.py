"""The planner's formulas against the real classes: weights, FLOPs, what a block keeps, draws."""

from __future__ import annotations

import sys

import pytest
import torch

from direct import plan
from direct.config import profile
from direct.errors import UserError
from direct.settings import override, with_values

SMALL = plan.WAN | {
    "num_attention_heads": 2, "attention_head_dim": 12, "ffn_dim": 40, "num_layers": 3,
    "in_channels": 4, "out_channels": 4, "text_dim": 24, "freq_dim": 16,
}  # fmt: skip


def on_meta(arch):
    from diffusers import WanTransformer3DModel

    with torch.device("meta"):
        return WanTransformer3DModel(**arch, qk_norm="rms_norm_across_heads")


def test_weights_are_the_real_classs():
    for arch in (SMALL, plan.KNOWN["Wan-AI/Wan2.1-T2V-1.3B-Diffusers"]):
        real = sum(p.numel() for p in on_meta(arch).parameters())
        assert plan.weights_of(arch) == real
    assert real == 1_418_996_800  # as published


def test_flops_are_those_that_torch_counts():
    from torch.utils.flop_counter import FlopCounterMode

    arch = SMALL | {"num_layers": 2, "num_attention_heads": 4}
    model, tokens, text = on_meta(arch), 3 * 8 * 8, 20
    inputs = [torch.empty(1, 4, 3, 16, 16), torch.empty(1), torch.empty(1, text, 24)]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(*(tensor.to("meta") for tensor in inputs))
    shape = plan.Shape(48, 40, 2, 0, (4, 3, 16, 16), tokens, text, 24)
    ours = sum(shape.forward())
    assert ours < counter.get_total_flops() < 1.15 * ours  # it counts the embedders, too


@pytest.mark.parametrize(("dim", "ffn"), [(96, 200), (192, 100)])
def test_a_block_keeps_what_is_said(dim, ffn):
    from diffusers.models.transformers.transformer_wan import WanTransformerBlock

    block = WanTransformerBlock(dim, ffn, 12, "rms_norm_across_heads", True, 1e-6, None).bfloat16()

    def kept(tokens):
        def half(*size):
            return torch.zeros(*size, dtype=torch.bfloat16)

        rotary = (torch.zeros(1, tokens, 1, dim // 12), torch.zeros(1, tokens, 1, dim // 12))
        inputs = [half(1, tokens, dim).requires_grad_(), half(1, 16, dim), torch.zeros(1, 6, dim)]
        own = {t.data_ptr() for t in [*block.parameters(), *inputs, *rotary]}
        found = {}

        def pack(tensor):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                found[storage.data_ptr()] = storage.nbytes(), tensor  # held, so no address repeats
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            block(*inputs, rotary)
        return sum(size for size, _ in found.values())

    per_token = (kept(384) - kept(128)) / 256
    shape = plan.Shape(dim, ffn, 1, 0, (1, 1, 1, 1), 1, 1, 1)
    assert shape.saved() == pytest.approx(per_token, rel=0.02)


def test_draws_are_those_of_the_sampler():
    from direct import prepare

    config = with_values(profile("wan2.1-1gpu"), {"data.clips": 300, "train.steps": 130})
    kept = [[f"{clip} {slot}" for slot in range(3)] for clip in range(300)]
    real = len(prepare.drawn_prompts(config, kept))
    assert 300 < real < 900 and plan.drawn(config) == pytest.approx(real, rel=0.04)


def test_memory_by_hand():
    config, shape = profile("wan2.1-t2v-1.3b"), plan.shape_of(profile("wan2.1-t2v-1.3b"))
    assert shape.tokens == 32_760 and shape.latent == (16, 21, 60, 104)
    four, eight = (plan.training_memory(shape, config, n) for n in (4, 8))
    assert four["weights"] == four["reference"] == 2 * 1_418_996_800  # bf16
    assert four["optimizer"] == 2 * eight["optimizer"] == 4 * 1_418_996_800  # 16 bytes, over 4
    lora = plan.training_memory(shape, override(config, "train.lora_rank=32"), 4)
    assert "reference" in lora and lora["reference"] == 0 and lora["optimizer"] < 2e8
    kept_all = override(config, "train.gradient_checkpointing=false")
    more = plan.training_memory(shape, kept_all, 4)["activations"]
    assert more > 10 * four["activations"] > 10 * 30 * 32_760 * 1536 * 2


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["direct.plan", *arguments])
    return plan.main()


def test_the_command_states_the_cost_and_what_does_not_fit(monkeypatch, capsys):
    assert run(monkeypatch, "--gpu", "h200-141g") == 0
    said = capsys.readouterr().out
    assert "13 GPU-hours" in said and "they are 800" in said and "gives up" not in said
    assert "DOES NOT FIT" not in said
    full = ("--profile", "wan2.1-t2v-14b", "--set", "train.lora_rank=0", "--gpus", "1")
    assert run(monkeypatch, *full) == 1
    assert "train" in next(x for x in capsys.readouterr().out.splitlines() if "DOES NOT FIT" in x)


def test_one_gpu_finishes_an_ablation_within_a_day(monkeypatch, capsys):
    assert run(monkeypatch, "--profile", "wan2.1-1gpu", "--gpu", "h100-80g") == 0
    said = capsys.readouterr().out
    hours = float(said.split("5 cells of one seed: ")[1].split(" ")[0])
    assert 0 < hours < 24 and "data.clips 500 (paper: 11299)" in said


@pytest.mark.parametrize(("arguments", "said"), [
    (["--gpus", "0"], "--gpus 0 "), (["--gpus", "3"], "does not divide train.batch=8"),
    (["--gpus", "8", "--set", "train.micro_batch=4"], "does not divide train.batch=8"),
    (["--profile", "wan2.1-1gpu", "--gpus", "8"], "the torch engine is for one"),
    (["--share", "-1"], "--share -1 is no share"), (["--share", "0"], "--share 0 is no share"),
    (["--cells", "-3"], "--cells -3 is no number"),
])  # fmt: skip
def test_what_training_would_refuse_is_not_planned(monkeypatch, arguments, said):
    with pytest.raises(UserError, match=said):
        run(monkeypatch, *arguments)


def test_a_folder_is_read_and_anything_else_is_one_sentence(monkeypatch, pipeline_folder):
    model = f"model.pipeline={pipeline_folder}"
    config = override(profile("tiny"), model, "model.frames=5")
    shape = plan.shape_of(config)
    assert shape.latent == (4, 2, 8, 8) and shape.tokens == 32 and shape.dim == 24
    with pytest.raises(UserError, match="download it"):
        run(monkeypatch, "--set", "model.pipeline=someone/else")
    with pytest.raises(UserError, match="h100-80g"):
        run(monkeypatch, "--gpu", "h100")
    with pytest.raises(UserError, match="does not divide"):
        run(monkeypatch, "--gpus", "3")
