"""What one optimizer step reads: a pure function of (configuration, step, place in the batch).

A sample's clip, noise, time and negatives belong to its place in the global batch: the rank that
computes it, and the micro-batch it is computed in, change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .. import flow, noise, sampling
from ..common import ranks
from ..config import Config, Train
from ..models import experts, pipeline
from ..negatives import macro
from ..prepare import shared
from ..prepare.shared import Shared


@dataclass(frozen=True)
class Batch:
    """B samples of a global batch. A negative's tensor is None where its term is off."""

    x: Tensor  # [B, C, T, H, W] clean latents
    t: Tensor  # [B] noise levels
    key: Tensor  # [B, 2] keys of the noise of x and of both negatives
    text: Tensor  # [B, L, D]
    x_rand: Tensor | None
    eps_rand: Tensor | None  # given for in-batch negatives alone; else drawn inside the loss
    x_hard: Tensor | None
    weight: Tensor  # [B, 4] of fm, rand, hard, anc: 0 where a sample is not contrasted


def load_batch(config: Config, data: Shared, step: int, rows: Sequence[int] | None = None) -> Batch:
    """The samples at places `rows` of the global batch of one step; all of it by default."""
    seed, size, device = config.seed, config.train.batch, pipeline.device()
    places = np.arange(size) if rows is None else np.asarray(rows)
    counts = np.array([len(prompts) for prompts in data.hard_prompts])
    everyone, prompted, slot = shared.negatives_of(config, step, counts)
    chosen, prompted, slot = everyone[places], prompted[places], slot[places]
    x = data.latents(chosen).to(device)
    key = noise.keys(seed, step, range(size), sampling.TRAINING)
    x_rand, eps_rand = _rand_negatives(config, data, step, everyone, places, key)
    prompts = [data.samples[i].prompt if on else "" for i, on in zip(chosen, prompted, strict=True)]
    weight = np.ones((len(places), 4), np.float32)
    weight[:, 1] = prompted
    weight[:, 2] = slot >= 0
    times = flow.sample_times(seed, step, size, config.train.shift, experts.times(config))
    return Batch(
        x=x,
        t=times[places].to(device),
        key=key[places].to(device),
        text=data.text(prompts).to(device),
        x_rand=x_rand,
        eps_rand=eps_rand,
        x_hard=_hard_negatives(config, data, chosen, slot, x) if config.loss.lambda_hard else None,
        weight=torch.from_numpy(weight).to(device),
    )


def load_passes(config: Config, data: Shared, step: int) -> list[Batch]:
    """This rank's part of one step's global batch, one batch per forward pass."""
    return [load_batch(config, data, step, chosen) for chosen in own_rows(config.train)]


def own_rows(train: Train) -> list[range]:
    """This rank's places in every global batch, one range per forward pass."""
    return ranks.share(train.batch, train.micro_batch, train.context_parallel)


def _rand_negatives(
    config: Config, data: Shared, step: int, everyone: np.ndarray, places: np.ndarray, key: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    """x_rand of Eq. 3, and its noise where it is not drawn inside the loss."""
    if not config.loss.lambda_rand:
        return None, None
    device = pipeline.device()
    u = macro.uniforms(config.seed, step, len(everyone), config.macro.seed)
    if config.macro.sampling == "batch":  # DeltaFM: another sample of the batch, its own noise
        other = macro.draw_in_batch(u)[places]
        x_rand = data.latents(everyone[other]).to(device)
        if config.loss.negative_noise != "sampled":
            return x_rand, None
        return x_rand, noise.normal(key[other].to(device), x_rand.shape, device=device)
    if config.macro.sampling == "uniform":
        negatives = macro.draw_uniform(everyone[places], u[places], len(data.samples))
    elif data.draw is not None:  # a plug-in's
        negatives = data.draw(everyone[places], u[places])
    else:
        assert data.pools is not None  # prepare.shared makes them for this sampling
        negatives = macro.draw(data.pools, everyone[places], u[places])
    return data.latents(negatives).to(device), None


def _hard_negatives(
    config: Config, data: Shared, chosen: np.ndarray, slot: np.ndarray, x: Tensor
) -> Tensor:
    """x_hard of Eq. 4; zeros, of weight 0, for samples that are not contrasted."""
    x_hard = torch.zeros_like(x)
    rows = np.flatnonzero(slot >= 0)
    if len(rows):
        kept = [shared.contrasted(config, data.hard_prompts[chosen[b]], slot[b]) for b in rows]
        found = data.hard([prompt for prompts in kept for prompt in prompts])
        each = found.split([len(prompts) for prompts in kept])
        x_hard[torch.from_numpy(rows)] = torch.stack([own.mean(0) for own in each]).to(x)
    return x_hard
