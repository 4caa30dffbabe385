"""Mean clips that a gain at sampling is about (docs/theory.md, T3): of training, or negatives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..common.files import digest, load_arrays, save_arrays
from ..config import Run
from ..data import source
from ..data.sample import Sample
from . import render
from .encode import clip_key, clip_latents, latent_store, made_by, pooled
from .shared import evaluation_negatives, partition

BLOCK = 64  # clips read at a time


def references(run: Run, prompts: Sequence[str]) -> Tensor | None:
    """x_ref of each prompt, [P, C, T, H, W] fp32, or one for all, [1, ...]; None without a gain."""
    settings = run.config.sample
    if not settings.gain:
        return None
    if settings.about_negatives:
        return _negatives(run, prompts)
    samples = source.training(run)
    pool = _pool(run, samples)
    if settings.gain_about == "zero":
        return torch.zeros_like(pool)
    return pool if settings.gain_about == "pool" else _outside(run, samples, prompts)


def _pool(run: Run, samples: Sequence[Sample]) -> Tensor:
    """The mean of all training clips, [1, C, T, H, W]."""
    return _cached(run, samples, np.zeros(len(samples), np.int64))


def _outside(run: Run, samples: Sequence[Sample], prompts: Sequence[str]) -> Tensor:
    """For each prompt the mean of the clips outside its cluster, that of the nearest centroid."""
    labels = np.array(partition(run, samples)["labels"])
    sums = _cached(run, samples, labels).double()
    sizes = torch.from_numpy(np.bincount(labels)).double().view(-1, 1, 1, 1, 1)
    sums = sums * sizes
    outside = (sums.sum(0) - sums) / (len(labels) - sizes)
    return outside[torch.from_numpy(_nearest(run, samples, labels, prompts))].float()


def _negatives(run: Run, prompts: Sequence[str]) -> Tensor:
    """For each prompt the mean of its hard negatives, which the base model has rendered."""
    kept = evaluation_negatives(run)
    latents = render.hard_negatives(run, [text for prompt in prompts for text in kept[prompt]])
    render.release()  # where `build` has not made them before
    return torch.stack([latents(kept[prompt]).mean(0) for prompt in prompts])


def _nearest(
    run: Run, samples: Sequence[Sample], labels: np.ndarray, prompts: Sequence[str]
) -> np.ndarray:
    """[P] int64: the cluster whose mean embedding is nearest to each prompt's."""
    z = pooled(run, [item.prompt for item in samples])
    centroids = np.stack([z[labels == k].mean(0) for k in range(labels.max() + 1)])
    gaps = pooled(run, prompts)[:, None] - centroids
    return np.square(gaps).sum(-1).argmin(1)


def _cached(run: Run, samples: Sequence[Sample], labels: np.ndarray) -> Tensor:
    """[K, C, T, H, W] fp32: the mean clip of each cluster, made once."""
    store = latent_store(run)
    keys = [clip_key(sample) for sample in samples]
    makers = made_by(run.config, "direct.prepare.means")
    name = digest([store.folder.name, keys, labels.tolist(), *makers])
    path = run.cache / "means" / f"{name}.safetensors"
    if (found := load_arrays(path)) is not None:
        return found["means"]
    latents = clip_latents(run, samples)
    total: Tensor | None = None
    for start in range(0, len(samples), BLOCK):
        own = labels[start : start + BLOCK]
        member = torch.from_numpy(np.eye(labels.max() + 1)[:, own])  # [K, b] float64
        part = torch.tensordot(member, latents(range(start, start + len(own))).double(), 1)
        total = part if total is None else total + part
    assert total is not None
    means = (total / torch.from_numpy(np.bincount(labels)).view(-1, 1, 1, 1, 1)).float()
    save_arrays(path, {"means": means})
    return means
