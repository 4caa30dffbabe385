"""A very small genuine `WanPipeline` folder, built on the spot, and clips for it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any

import numpy as np
import torch

from direct.data.sample import Sample

WORDS = """
a the ball box falls rises bounces slides slowly quickly red blue green small large heavy light on
in of and sticks rolls to left right from floor wall stream drop with over under fast gently sticky
""".split()  # noqa: SIM905


def build_pipeline(folder: Path) -> Path:
    """Saves random weights of every class that Wan2.1 ships; 4 latent channels, strides 4 and 4."""
    from diffusers import (
        AutoencoderKLWan,
        FlowMatchEulerDiscreteScheduler,
        WanPipeline,
        WanTransformer3DModel,
    )
    from transformers import T5Tokenizer, UMT5Config, UMT5EncoderModel

    torch.manual_seed(0)
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -8.0)]
    vocabulary += [(f"▁{word}", -2.0) for word in WORDS]
    tokenizer = T5Tokenizer(vocab=vocabulary, extra_ids=0)
    text_encoder = UMT5EncoderModel(
        UMT5Config(
            vocab_size=len(tokenizer),
            d_model=24,
            d_kv=6,
            d_ff=32,
            num_layers=2,
            num_heads=4,
            relative_attention_num_buckets=8,
            dropout_rate=0.0,
        )
    ).eval()
    vae = AutoencoderKLWan(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[True, True],
        scale_factor_spatial=4,
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[0.5, 1.5, 2.0, 1.0],
    )
    transformer = WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=4,
        out_channels=4,
        text_dim=24,
        freq_dim=16,
        ffn_dim=32,
        num_layers=2,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=32,
    )
    WanPipeline(
        tokenizer=tokenizer,
        text_encoder=text_encoder,
        vae=vae.eval(),
        transformer=transformer.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    ).save_pretrained(folder, safe_serialization=True)
    return folder


def build_samples(count: int, split: str) -> list[Sample]:
    """Prompts of the fixture's words with random clips; each axis swaps one word of the prompt."""
    colors, verbs, laws = (
        ("red", "blue", "green"),
        ("falls", "rises", "rolls"),
        ("gravity", "friction"),
    )
    speeds = {"kinematics": ("slowly", "quickly"), "magnitude": ("small", "large")}

    def make(n: int) -> Sample:
        prompt = f"a small {colors[n % 3]} ball {verbs[n // 3 % 3]} slowly"
        video = np.random.default_rng([n, len(split)]).integers(0, 256, (5, 16, 16, 3), np.uint8)

        def perturb(axis: str, rng: np.random.Generator) -> str | None:
            if axis not in speeds:
                return None
            return prompt.replace(speeds[axis][0], speeds[axis][int(rng.integers(2))])

        return Sample(f"{split}-{n}", prompt, laws[n % 2], lambda: video, perturb, n)

    return [make(n) for n in range(count)]


def overflowing(velocity: Callable[..., Any], calls: Container[int]) -> Callable[..., Any]:
    """`models.velocity`, with one infinite element in what the trained model gives at these calls.

    Its activations and weights stay finite, as where a last sum in bf16 overflows.
    """
    count = itertools.count()

    def of(model: Any) -> Callable[..., torch.Tensor]:
        real = velocity(model)

        def call(*arguments: Any) -> torch.Tensor:
            v = real(*arguments)
            if not torch.is_grad_enabled() or next(count) not in calls:
                return v
            last = torch.arange(v.numel(), device=v.device).view(v.shape) == v.numel() - 1
            return v.masked_fill(last, math.inf)

        return call

    return of
