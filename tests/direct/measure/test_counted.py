"""Weights, operations and what a pass keeps: against formulas and the real classes on a CPU."""

from __future__ import annotations

import pytest
import torch

from direct.common.errors import UserError
from direct.measure import counted
from direct.models import pipeline
from direct.profiles import profile
from direct.settings import override, with_values


@pytest.mark.slow
def test_the_published_transformers():
    """Wan 2.1's 1.42 and 14.3, LTX-Video's 1.92 billion weights; their clips' tokens."""
    wan, large, ltx = (
        counted.count(profile(name)) for name in ("wan2.1-t2v-1.3b", "wan2.1-t2v-14b", "ltx-video")
    )
    assert wan.weights == wan.trained == 1_418_996_800
    assert large.weights == 14_288_491_584 and large.trained == 40 * 2 * 4 * 32 * 2 * 5120  # LoRA
    assert ltx.weights == 1_923_385_472
    assert wan.latent == large.latent == (16, 21, 60, 104) and wan.tokens == 32_760
    assert ltx.latent == (128, 11, 15, 22) and ltx.tokens == 11 * 15 * 22


@pytest.mark.slow
def test_flops_by_hand():
    """Of Wan's block: 12 n d^2 for attentions, their scores, the feed-forward's 4 n d f."""
    clip = counted.count(profile("wan2.1-t2v-1.3b"))
    n, m, d, f = 32_760, 512, 1536, 8960
    scores = 30 * (4 * n**2 * d + 4 * n * m * d)
    assert clip.attention == scores
    linear = 30 * (12 * n * d**2 + 4 * m * d**2 + 4 * n * d * f)
    assert linear < clip.linear < 1.001 * linear  # the embedders, too
    assert clip.forward / 85 / 989e12 * 100 == pytest.approx(0.34, abs=0.005)  # with 50 steps x 2


@pytest.mark.slow
def test_what_a_block_keeps_by_hand():
    """Per token of Wan's block, counted once on a CPU: 68 d + 4 f + 132 bytes in bf16."""
    clip = counted.count(profile("wan2.1-t2v-1.3b"))
    block = 32_760 * (68 * 1536 + 4 * 8960 + 132)
    assert clip.kept / 30 == pytest.approx(block, rel=0.01)
    assert clip.widest == 2 * 32_760 * 8960 and clip.hidden == 2 * 32_760 * 1536
    assert 30 * clip.hidden < clip.checkpointed < 36 * clip.hidden


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 2])
def test_what_is_kept_is_what_a_real_pass_keeps(pipeline_folder, rank):
    """The same hooks around a pass with data, of a model with weights and a real adapter."""
    from direct.models import lora

    values = {
        "model.pipeline": str(pipeline_folder),
        "model.frames": 5,
        "train.lora_rank": rank,
        "model.dtype": "bfloat16",
    }
    config = with_values(profile("tiny"), values)
    clip = counted.count(config)
    transformer = pipeline.load_transformer(pipeline_folder, torch.bfloat16).train()
    transformer.requires_grad_(True)
    if rank:
        lora.add(transformer, config)
    trained = sum(p.numel() for p in transformer.parameters() if p.requires_grad)
    assert clip.trained == trained
    x = torch.randn(1, *clip.latent).bfloat16()
    text = torch.randn(1, config.model.text_length, clip.text_dim).bfloat16()
    inputs = (transformer, x, torch.ones(1), text)
    linear, attention, kept = counted.forward(pipeline.velocity(config.model), inputs)
    assert clip.attention == attention
    adapter = 2 * trained * clip.tokens if rank else 0  # left out: an adapter is small beside dim
    assert clip.linear <= linear <= clip.linear + 1.5 * adapter
    assert clip.kept == pytest.approx(sum(kept), rel=0.1 if rank else 0.02)


def test_a_transformers_own_folder_is_no_pipeline(pipeline_folder):
    config = override(profile("tiny"), f"model.pipeline={pipeline_folder}/transformer")
    with pytest.raises(UserError, match="has no vae; give a whole pipeline's folder"):
        counted.count(config)
