"""The gain that contrast trains (docs/theory.md): what Eq. 6 predicts, and what a training learnt.

The minimiser of Eq. 6 is v* = v_sft + s (v_sft + x_ref), s = lambda / (1 - lambda + lambda_anc):
lambda = lambda_rand + lambda_hard, x_ref the weighted mean of the negatives' clips. Regressing
v_contrast - v_sft on v_sft + x_ref, through the origin, tells how much of it a training has reached
(s over its prediction) and what else it has learnt (1 - R2).

    python -m sweeps.run gain
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import flow, noise, sampling
from ..common.errors import UserError
from ..config import Config, Measure, Run
from ..models import pipeline
from ..prepare import shared
from ..prepare.shared import Shared
from ..train.loop import train

LEVELS = (0.2, 0.5, 0.8, 0.95)  # noise levels t
BLOCK = 64  # clips read at a time

About = Literal["own", "pool"]  # the mean of the run's own negatives; of all training clips


class Gain(NamedTuple):
    s: float  # v_contrast - v_sft = s (v_sft + x_ref) + rest
    r2: float  # 1 - |rest|^2 / |v_contrast - v_sft|^2: about zero, there is no intercept


def predicted(config: Config) -> float:
    """The gain at the optimum of Eq. 6, for a clip that every term of `config` reaches."""
    return config.loss.gain


def gain(v_contrast: Tensor, v_sft: Tensor, x_ref: Tensor) -> Gain:
    """The least-squares s over all elements of velocities and clips of one shape [B, ...]."""
    return from_products(products(v_contrast, v_sft, x_ref))


def reference(config: Config, data: Shared, chosen: Sequence[int], about: About = "own") -> Tensor:
    """x_ref [B, C, T, H, W] fp32 of the training clips `chosen` [B].

    "own": the mean of what Eq. 2 draws for the clip's prompt, and of the hard negatives that the
    run draws for it (others are never rendered), weighted by lambda_rand and lambda_hard.
    """
    rand, hard = config.loss.lambda_rand, config.loss.lambda_hard
    if about == "pool":
        return _means(data, np.ones((1, len(data.samples)), bool)).expand(len(chosen), *[-1] * 4)
    if not rand + hard:
        raise UserError("no term contrasts here, so nothing is referred to; set a lambda above 0")
    total: Any = 0
    if rand:
        total = rand * _means(data, _allowed(config, data, np.array(chosen)))
    if hard:
        drawn = _drawn(config, data)
        total = total + hard * torch.stack([data.hard(drawn[i]).mean(0) for i in chosen])
    return total / (rand + hard)


def records(run: Run) -> list[dict[str, Any]]:
    """A cell of the sweep `gain`: trains the run and its SFT twin, and measures the difference.

    One record per noise level: `{"prompt": "t 0.20", "caption": "", "scores": {...}}`. Both
    trainings are those of the score cells of these settings: none is made twice. Resumes.
    """
    contrast = replace(run, config=replace(run.config, measure=Measure()))
    sft = replace(contrast, config=without_contrast(contrast.config), folder=run.folder / "sft")
    for one in (sft, contrast):
        train(one)
    found = measure(contrast, sft.folder)
    return [
        {
            "prompt": f"t {level.pop('t'):.2f}",
            "caption": "",
            "scores": {"predicted": found["predicted"], **level},
        }
        for level in found["levels"]
    ]


def without_contrast(config: Config) -> Config:
    """The SFT twin of a run: its seed, start and steps, and no negatives."""
    return replace(config, loss=replace(config.loss, lambda_rand=0.0, lambda_hard=0.0))


@torch.no_grad()
def measure(run: Run, sft_folder: Path, clips: int = 64) -> dict[str, Any]:
    """What a run learnt beyond the SFT run of a folder, on training clips spread evenly.

    The SFT run has the seed, start and steps of the other one, so that what neither has reached
    cancels. Only clips that every term of `config` reaches count. Both transformers are held in
    fp32: bf16's rounding is as large as the gain. Plain numbers: predicted, clips, and of each of
    `levels` t, s, r2, share (s / predicted), pool_s and pool_r2, about the mean of all clips, and
    apart, |x_ref - x_bar| / |v_sft + x_ref|: what the choice of negatives can change of a gain.
    """
    config, data = run.config, shared.open_shared(run)
    chosen = spread(config, data, clips)
    about = [reference(config, data, chosen, "own"), reference(config, data, chosen, "pool")]
    nets = [pipeline.load_transformer(place / "transformer") for place in (run.folder, sft_folder)]
    size = sampling.batch_size(about[0].shape[1:], nets[0].config.patch_size)
    levels, expected = [], predicted(config)
    away = float((about[0] - about[1]).double().square().sum())
    for k, t in enumerate(LEVELS):
        sums = torch.zeros(len(about), 3, dtype=torch.float64)
        for start in range(0, len(chosen), size):
            v, v_sft = velocities(config, data, chosen[start : start + size], nets, k)
            for row, x_ref in zip(sums, about, strict=True):
                row += products(v, v_sft, x_ref[start : start + size])
        own, pool = map(from_products, sums)
        found = {"t": t, "s": own.s, "r2": own.r2, "share": own.s / expected}
        apart = math.sqrt(away / float(sums[0, 1]))
        levels.append(found | {"pool_s": pool.s, "pool_r2": pool.r2, "apart": apart})
    return {"predicted": expected, "clips": len(chosen), "levels": levels}


def velocities(
    config: Config,
    data: Shared,
    chosen: list[int],
    nets: Sequence[Any],
    k: int,
    prompted: bool = True,
) -> list[Tensor]:
    """Each net's v [B, C, T, H, W] fp32 at the noise level LEVELS[k] of these clips.

    With their prompts, or with the empty one.
    """
    velocity, device, x = pipeline.velocity(config.model), pipeline.device(), data.latents(chosen)
    t = torch.full((len(chosen),), LEVELS[k])
    x_t = flow.interpolate(
        x, noise.normal(noise.keys(config.seed, k, chosen, sampling.MEASURE), x.shape), t
    )
    text = data.text([data.samples[i].prompt if prompted else "" for i in chosen])
    inputs = x_t.to(device), t.to(device), text.to(device)
    return [velocity(net, *inputs).cpu() for net in nets]


def products(v_contrast: Tensor, v_sft: Tensor, x_ref: Tensor) -> Tensor:
    """[3] float64: d.f, f.f and d.d for d = v_contrast - v_sft and f = v_sft + x_ref."""
    d = (v_contrast.double() - v_sft.double()).flatten()
    f = (v_sft.double() + x_ref.double()).flatten()
    return torch.stack([d @ f, f @ f, d @ d])


def from_products(products: Tensor) -> Gain:
    df, ff, dd = products.tolist()
    return Gain(df / ff, df**2 / (ff * dd) if dd else 1.0)


def spread(config: Config, data: Shared, clips: int) -> list[int]:
    """At most so many training clips that every term of `config` reaches, spread evenly."""
    able = np.arange(len(data.samples))
    if config.loss.lambda_hard:
        able = np.flatnonzero([len(prompts) > 0 for prompts in _drawn(config, data)])
    if not len(able):
        raise UserError("no training clip has a hard negative; set micro.min_cosine lower")
    places = np.linspace(0, len(able) - 1, min(clips, len(able))).astype(int)
    return able[places].tolist()


def _allowed(config: Config, data: Shared, chosen: np.ndarray) -> np.ndarray:
    """[B, N] bool: which clips may be the random negative of each of `chosen`."""
    if data.draw is not None:
        raise UserError(
            f"measure.kind=gain does not know which clips macro.sampling={config.macro.sampling} "
            "may draw; measure the gain of the built-in samplings"
        )
    if config.macro.sampling != "partition":  # in a batch, too: any other clip, equally often
        return chosen[:, None] != np.arange(len(data.samples))
    assert data.pools is not None  # open_shared makes them for this sampling
    may = np.diff(data.pools.allowed, axis=1) > 0  # [G, G]
    return may[data.pools.group[chosen]][:, data.pools.group]


def _drawn(config: Config, data: Shared) -> list[list[str]]:
    """Of each clip's perturbed prompts, those that the run draws at least once."""
    drawn = set(shared.drawn_prompts(config, data.hard_prompts))
    return [[prompt for prompt in prompts if prompt in drawn] for prompts in data.hard_prompts]


def _means(data: Shared, members: np.ndarray) -> Tensor:
    """[R, C, T, H, W] fp32: for each row of `members` [R, N] bool, the mean of those clips."""
    total: Any = 0
    for start in range(0, members.shape[1], BLOCK):
        part = torch.from_numpy(members[:, start : start + BLOCK]).double()
        x = data.latents(range(start, start + part.shape[1])).double()
        total = total + torch.tensordot(part, x, 1)
    return (total / torch.from_numpy(members.sum(1)).view(-1, 1, 1, 1, 1)).float()
