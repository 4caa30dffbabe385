"""Euler sampling with classifier-free guidance, and the noise that it starts from.

The initial noise of a prompt is a pure function of (seed, prompt id), so every variant of a seed
starts from the same noise and differences between variants are paired.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import flow, noise
from .common.seed import stable_seed
from .config import Sampling

# Streams of `noise.keys`: uses of noise that never coincide.
TRAINING, EVALUATION, HARD, MEASURE = 0, 1, 2, 3
TOKENS = 32_768  # of the transformer per forward pass, about: one clip of the paper's size


def euler(x: Tensor, v: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
    """x at level t_next, from x and its velocity at t."""
    return x + (t_next - t) * v


@torch.no_grad()
def sample(
    transformer: Any,
    prompt: Tensor,
    negative: Tensor,
    noise: Tensor,
    settings: Sampling,
    velocity: Callable[..., Tensor],
    x_ref: Tensor | None = None,
    levels: np.ndarray | None = None,
    advance: Callable[..., Tensor] = euler,
) -> Tensor:
    """Latents [B, C, T, H, W] fp32 from noise of that shape: steps of dx = v dt, from t = 1.

    prompt [B, L, D], negative [1, L, D]: text embeddings. With guidance g > 1 there are two
    velocities, both from one forward pass, and `guided` makes one of them. The transformer may be
    two experts (`models.experts`), the low-noise one with a guidance of its own. The state stays
    fp32; what the transformer is given is cast to its dtype. velocity: v(transformer, x_t, t,
    text), as `models.pipeline.velocity` gives it. Equals the family's own pipeline at the same
    noise levels.
    x_ref [B or 1, C, T, H, W]: the clip that a gain is about, where `settings.gain` is not 0.
    levels [steps + 1]: as `models.pipeline.noise_levels` gives them for a pipeline with a scheduler
    of its own; `flow.sampling_grid` without. advance(x, v, t, t_next): x at the next level; Euler's
    step, or a solver of its own for each call (`models.schedule.unipc`).
    """
    x = noise.float()
    two = settings.guidance > 1
    low_settings = replace(settings, guidance=settings.guidance_low)
    about = torch.zeros(()) if x_ref is None else x_ref.to(x)
    text = prompt.to(x.device, transformer.dtype)
    if two:
        text = torch.cat([text, negative.to(text).expand_as(text)])
    grid = flow.sampling_grid(settings.steps, settings.shift) if levels is None else levels
    for t, t_next in itertools.pairwise(torch.from_numpy(grid).float().to(x.device)):
        x_in = (torch.cat([x, x]) if two else x).to(transformer.dtype)
        v = velocity(transformer, x_in, t.expand(len(x_in)), text).float()
        v, v_neg = v.chunk(2) if two else (v, None)
        if settings.gain:  # of the prompted branch: dropped prompts are not contrasted (T2, T5)
            v = v + settings.gain * (v + about)
        if v_neg is not None:
            low = settings.guidance_low and transformer.is_low(flow.TIMESTEPS * t)
            v = guided(v, v_neg, low_settings if low else settings)
        x = advance(x, v, t, t_next)
    return x


def guided(v: Tensor, v_neg: Tensor, settings: Sampling) -> Tensor:
    """Classifier-free guidance v_neg + g (v - v_neg), all [B, ...].

    "cfg_zero": v_neg at its optimal scale <v, v_neg> / |v_neg|^2 per clip (CFG-Zero*, Fan et al.,
    2503.18886, Eq. 10), without that work's zero first steps.
    """
    if settings.guidance_rule == "cfg_zero":
        dot, square = (v * v_neg).flatten(1).sum(1), v_neg.square().flatten(1).sum(1)
        scale = dot / square.clamp_min(1e-8)
        v_neg = v_neg * scale.view(-1, *[1] * (v.dim() - 1))
    return v_neg + settings.guidance * (v - v_neg)


def batch_size(shape: Sequence[int], patch: Sequence[int] | int) -> int:
    """Clips of latent shape [C, T, H, W] per forward pass, at most 16: a function of the sizes."""
    tokens = math.prod(shape[1:]) // (patch if isinstance(patch, int) else math.prod(patch))
    return max(1, min(16, TOKENS // tokens))


def initial_noise(seed: int, names: Sequence[str], shape: Sequence[int], stream: int) -> Tensor:
    """[len(names), *shape] fp32: each name's own noise, whatever else is drawn beside it."""
    key = noise.keys(seed, 0, [stable_seed(name) for name in names], stream)
    return noise.normal(key, (len(names), *shape))
