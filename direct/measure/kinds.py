"""Every kind of negative for one batch, side by side: what gradient alignment compares (App. H)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .. import noise
from ..common.errors import UserError
from ..config import Run
from ..negatives import macro
from ..prepare import shared
from ..prepare.shared import Shared
from ..train.batch import Batch


@dataclass(frozen=True)
class Negative:
    """One kind of negative for every sample of the batch."""

    x: Tensor  # [B, C, T, H, W]
    eps: Tensor  # like x; zero where the noise is replaced by its mean
    weight: Tensor  # [B] 1, or 0 where a sample is not contrasted


class Negatives:
    """`negatives(step, batch)`: every kind for one batch, a pure function of the step."""

    def __init__(self, run: Run, data: Shared) -> None:
        labels = np.array(shared.partition(run, data.samples)["labels"])
        self.config, self.data, self.labels = run.config, data, labels
        self.other = macro.exclusion(labels)

    def __call__(self, step: int, batch: Batch) -> dict[str, Negative]:
        config, data, size = self.config, self.data, len(batch.x)
        counts = np.array([len(prompts) for prompts in data.hard_prompts])
        chosen, _, _ = shared.negatives_of(config, step, counts)
        u = macro.uniforms(config.seed, step, size, config.macro.seed)
        same = draw_same(self.labels, chosen, u)
        eps = noise.normal(batch.key, batch.x.shape, device=batch.x.device, term=noise.RAND)
        prompted = batch.weight[:, 1]
        alone = torch.from_numpy(np.where(same < 0, 0, 1)).to(prompted)

        def latents(samples: np.ndarray) -> Tensor:
            return data.latents(samples).to(batch.x.device)

        assert batch.x_rand is not None and batch.x_hard is not None  # both terms are on
        mins = Negative(batch.x_hard, eps, batch.weight[:, 2])
        found = {
            "random": Negative(
                latents(macro.draw_uniform(chosen, u, len(data.samples))), eps, prompted
            ),
            "mans": Negative(batch.x_rand, eps, prompted),
            "mins": mins,
            "mans_marginal": Negative(batch.x_rand, torch.zeros_like(eps), prompted),
            "same": Negative(latents(np.maximum(same, 0)), eps, prompted * alone),
            "other": Negative(latents(macro.draw(self.other, chosen, u)), eps, prompted),
            "hard": mins,
        }
        for name, negative in found.items():
            if not negative.weight.any():
                raise UserError(
                    f"step {step}: no sample of the batch has a negative of the kind "
                    f"{name!r}; raise train.batch={size}"
                )
        return found


def draw_same(labels: np.ndarray, samples: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Another sample of the same cluster for each of samples [B], by u [B]; -1 where there is none.

    What MaNS excludes (Eq. 2): by Proposition 1 the negatives of the strongest conflict.
    """
    drawn = np.full(len(samples), -1, np.int64)
    for b, sample in enumerate(samples):
        members = np.flatnonzero(labels == labels[sample])
        members = members[members != sample]
        if len(members):
            drawn[b] = members[int(u[b] * len(members))]
    return drawn
