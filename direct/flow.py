"""The flow (Sec. 3): interpolant, target velocity, timestep shift, and the grids drawn from them.

Time t is the share of noise: t = 0 is data, t = 1 is noise, and alpha_t = 1 - t, sigma_t = t. The
transformer is given 1000 t as a float.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from . import noise
from .common.errors import UserError

Number = TypeVar("Number", float, np.ndarray, Tensor)

TIMESTEPS = 1000  # points of the training grid, and the scale of the model's timestep input
EVERYWHERE = 0.0, float("inf")  # of noise levels


def interpolate(x: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    """x_t = (1 - t) x + t eps, for x, eps [B, C, T, H, W] and t [B] in [0, 1]."""
    t = t.to(x.dtype).view(-1, *[1] * (x.ndim - 1))
    return (1 - t) * x + t * eps


def target_velocity(x: Tensor, eps: Tensor) -> Tensor:
    """u = d x_t / dt = eps - x."""
    return eps - x


def shift(t: Number, s: float) -> Number:
    """Moves t in [0, 1] towards noise for s > 1: s t / (1 + (s - 1) t); 0 and 1 stay."""
    return s * t / (1 + (s - 1) * t)


def training_grid(s: float) -> np.ndarray:
    """[1000] float64, ascending: the shifted k/1000, k = 1..1000, that VideoX-Fun draws from."""
    return shift(np.arange(1, TIMESTEPS + 1) / TIMESTEPS, s)


def sample_times(
    seed: int, step: int, batch: int, s: float, among: tuple[float, float] = EVERYWHERE
) -> Tensor:
    """[batch] fp32: uniform over the points of `training_grid(s)`, independent per global sample.

    among (low, high): only the points low <= t < high, those of one expert; a `UserError` where
    there are none. VideoX-Fun stratifies by rank, so that a rank always sees the same noise levels;
    we do not.
    """
    grid = training_grid(s)
    grid = grid[(among[0] <= grid) & (grid < among[1])]
    if not len(grid):
        raise UserError(
            f"train.shift={s:g} leaves no noise level from {among[0]:g} to {among[1]:g}, where the "
            "expert is trained; use another shift"
        )
    point = (noise.uniform(seed, step, "time", batch) * len(grid)).astype(np.int64)
    return torch.from_numpy(grid[point]).float()


def sampling_grid(steps: int, s: float) -> np.ndarray:
    """[steps + 1] float64, descending from 1 to 0: the noise levels of Euler sampling.

    The scheduler's own points, evenly spaced from 1 to 1/1000, shifted *once*, then 0. Diffusers'
    `set_timesteps(steps)` starts from a lower end that is shifted already and shifts it again.
    """
    return np.append(shift(np.linspace(1, 1 / TIMESTEPS, steps), s), 0.0)
