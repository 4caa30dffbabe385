"""Euler sampling with classifier-free guidance, and the noise that it starts from.

The initial noise of a prompt is a pure function of (seed, prompt id), so every variant of a seed
starts from the same noise and differences between variants are paired.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from . import flow, noise
from .common.seed import stable_seed
from .config import Sampling

# Streams of `noise.keys`: uses of noise that never coincide.
TRAINING, EVALUATION, HARD, MEASURE = 0, 1, 2, 3
TOKENS = 32_768  # of the transformer per forward pass, about: one clip of the paper's size


@torch.no_grad()
def sample(
    transformer: Any,
    prompt: Tensor,
    negative: Tensor,
    noise: Tensor,
    settings: Sampling,
    velocity: Callable[..., Tensor],
) -> Tensor:
    """Latents [B, C, T, H, W] fp32 from noise of that shape: Euler steps of dx = v dt, from t = 1.

    prompt [B, L, D], negative [1, L, D]: text embeddings. With guidance g > 1 the velocity is
    v_neg + g (v - v_neg), both in one forward pass. The state stays fp32; what the transformer is
    given is cast to its dtype. velocity: v(transformer, x_t, t, text), as
    `models.pipeline.velocity` gives it. Equals the family's own pipeline at the same noise levels.
    """
    x = noise.float()
    guided = settings.guidance > 1
    text = prompt.to(x.device, transformer.dtype)
    if guided:
        text = torch.cat([text, negative.to(text).expand_as(text)])
    grid = flow.sampling_grid(settings.steps, settings.shift)
    levels = torch.from_numpy(grid).float().to(x.device)
    for t, t_next in itertools.pairwise(levels):
        x_in = (torch.cat([x, x]) if guided else x).to(transformer.dtype)
        v = velocity(transformer, x_in, t.expand(len(x_in)), text).float()
        if guided:
            v, v_neg = v.chunk(2)
            v = v_neg + settings.guidance * (v - v_neg)
        x = x + (t_next - t) * v
    return x


def batch_size(shape: Sequence[int], patch: Sequence[int] | int) -> int:
    """Clips of latent shape [C, T, H, W] per forward pass, at most 16: a function of the sizes."""
    tokens = math.prod(shape[1:]) // (patch if isinstance(patch, int) else math.prod(patch))
    return max(1, min(16, TOKENS // tokens))


def initial_noise(seed: int, names: Sequence[str], shape: Sequence[int], stream: int) -> Tensor:
    """[len(names), *shape] fp32: each name's own noise, whatever else is drawn beside it."""
    key = noise.keys(seed, 0, [stable_seed(name) for name in names], stream)
    return noise.normal(key, (len(names), *shape))
