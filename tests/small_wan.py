"""Very small genuine `WanPipeline` folders, built on the spot, and clips for them."""

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


VAE = {  # of Wan 2.1 and of Wan 2.2's A14B: 4 latent channels, strides 4 and 4
    "base_dim": 4,
    "z_dim": 4,
    "dim_mult": [1, 1, 1],
    "num_res_blocks": 1,
    "temperal_downsample": [True, True],
    "scale_factor_spatial": 4,
    "latents_mean": [0.1, -0.2, 0.3, 0.0],
    "latents_std": [0.5, 1.5, 2.0, 1.0],
}
VAE_5B = {  # of TI2V-5B: residual on patches of 2 x 2 pixels, its 48 channels, strides 4 and 16
    "base_dim": 4,
    "decoder_base_dim": 8,
    "z_dim": 48,
    "dim_mult": [1, 1, 1, 1],
    "num_res_blocks": 1,
    "temperal_downsample": [False, True, True],
    "is_residual": True,
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "scale_factor_spatial": 16,
    "latents_mean": [0.01 * (k - 20) for k in range(48)],
    "latents_std": [0.5 + 0.03 * k for k in range(48)],
}
MODELS = {  # what `WanPipeline` is given besides the parts of Wan 2.1
    "2.1": {},
    "2.2-a14b": {"boundary_ratio": 0.875},
    "2.2-5b": {"expand_timesteps": True},
}


def build_pipeline(folder: Path, kind: str = "2.1") -> Path:
    """Saves random weights of every class that this Wan ships. kind: one of MODELS."""
    from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanPipeline
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
    vae = AutoencoderKLWan(**VAE_5B if kind == "2.2-5b" else VAE)
    transformer = build_transformer(vae.config.z_dim)
    WanPipeline(
        tokenizer=tokenizer,
        text_encoder=text_encoder,
        vae=vae.eval(),
        transformer=transformer,
        transformer_2=build_transformer(vae.config.z_dim) if kind == "2.2-a14b" else None,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        **MODELS[kind],
    ).save_pretrained(folder, safe_serialization=True)
    return folder


def build_transformer(channels: int) -> Any:
    from diffusers import WanTransformer3DModel

    return WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=channels,
        out_channels=channels,
        text_dim=24,
        freq_dim=16,
        ffn_dim=32,
        num_layers=2,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=32,
    ).eval()


def by_pipeline(pipeline: Any, asked: Any, model: Any, **given: Any) -> Any:
    """What the diffusers pipeline makes at the noise levels of `asked`, shifted once.

    given: embeddings, latents, and options of its `__call__`; latents by default.
    """
    set_timesteps = type(pipeline.scheduler).set_timesteps
    pipeline.scheduler.set_shift(asked.shift)
    points = np.linspace(1, 1e-3, asked.steps)
    pipeline.scheduler.set_timesteps = lambda steps, device: set_timesteps(
        pipeline.scheduler, sigmas=points
    )
    pipeline.set_progress_bar_config(disable=True)
    size = {"height": model.height, "width": model.width, "num_frames": model.frames}
    steps = {"num_inference_steps": asked.steps, "guidance_scale": asked.guidance}
    return pipeline(**{"output_type": "latent", **size, **steps, **given}).frames


def build_samples(count: int, split: str, side: int = 16) -> list[Sample]:
    """Prompts of the fixture's words with random clips; each axis swaps one word of the prompt."""
    colors, verbs, laws = (
        ("red", "blue", "green"),
        ("falls", "rises", "rolls"),
        ("gravity", "friction"),
    )
    speeds = {"kinematics": ("slowly", "quickly"), "magnitude": ("small", "large")}

    def make(n: int) -> Sample:
        prompt = f"a small {colors[n % 3]} ball {verbs[n // 3 % 3]} slowly"
        size = (5, side, side, 3)
        video = np.random.default_rng([n, len(split)]).integers(0, 256, size, np.uint8)

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
