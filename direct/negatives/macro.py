"""MaNS (Sec. 4.1): negatives from other regions of the condition space.

Prompts are pooled to z_y = Pool(E(y)), partitioned by k-means into C_1..C_K, and a clip of C_i gets
its negative from the union of the other C_j, uniformly (Eq. 2). Every draw is a pure function of
(seed, step, global sample) and costs no rejection.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from .. import noise
from ..common.errors import UserError

BLOCK = 512  # rows of a distance matrix at a time


def pool(embeddings: Tensor, lengths: Tensor) -> Tensor:
    """z_y: mean of [N, L, D] over the first lengths[n] tokens, [N, D] fp32, padding apart."""
    valid = (embeddings.new_ones(embeddings.shape[:2]).cumsum(1) <= lengths[:, None])[..., None]
    return (embeddings.float() * valid).sum(1) / lengths[:, None]


def partition(z: np.ndarray, clusters: int, restarts: int = 50) -> tuple[np.ndarray, float]:
    """K-means labels [N] int64 of z [N, D], and their inertia: the best of `restarts` runs.

    Deterministic: each restart has its own seed and one thread; restarts share the cores. They run
    in float32, since memory is the limit and half the bytes are half the time; the best goes on in
    float64 to its end.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    distinct = len(np.unique(z, axis=0))
    if clusters < 2:
        raise UserError(
            f"macro.clusters={clusters} leaves no other cluster to draw from; use 2 or more"
        )
    if clusters > distinct:
        raise UserError(
            f"macro.clusters={clusters} is above the {distinct} distinct prompts (of {len(z)}); "
            "use fewer clusters"
        )
    z = np.asarray(z, np.float64)
    z = z - z.mean(0)  # so that float32 keeps the differences
    coarse = z.astype(np.float32)

    def fit(restart: int) -> tuple[float, int, np.ndarray]:
        found = KMeans(clusters, n_init=1, random_state=restart).fit(coarse)
        return float(found.inertia_), restart, found.cluster_centers_

    with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as pool:
        _, _, centers = min(pool.map(fit, range(restarts)), key=lambda found: found[:2])
        best = KMeans(clusters, init=centers, n_init=1).fit(z)
    return best.labels_.astype(np.int64), float(best.inertia_)


@dataclass(frozen=True)
class Exclusion:
    """Who may be whose negative. A group is one (cluster, law) pair; members lie in one block."""

    group: np.ndarray  # [N] the group of each sample
    order: np.ndarray  # [N] samples, sorted by group
    start: np.ndarray  # [G] where a group's block begins in `order`
    allowed: np.ndarray  # [G, G + 1] cumulative count of allowed negatives over the groups, from 0
    ladder: np.ndarray  # [G * G] rows of `allowed` (without the 0), each N + 1 above the one before

    @property
    def excluded_share(self) -> float:
        """The share of uniform draws that the exclusion changes; sum p_k^2 for clusters alone."""
        size = np.bincount(self.group)
        return float(1 - (size * self.allowed[:, -1]).sum() / len(self.group) ** 2)


def exclusion(clusters: np.ndarray, laws: np.ndarray | None = None) -> Exclusion:
    """Eq. 2's pools: another cluster and, where laws [N] are given, another law as well."""
    law = (
        np.zeros(len(clusters), np.int64)
        if laws is None
        else np.unique(laws, return_inverse=True)[1]
    )
    groups, group = np.unique(np.stack([clusters, law], 1), axis=0, return_inverse=True)
    group = group.reshape(-1)
    size = np.bincount(group)
    differs = groups[:, None, 0] != groups[None, :, 0]
    if laws is not None:
        differs &= groups[:, None, 1] != groups[None, :, 1]
    allowed = np.pad((differs * size).cumsum(1), ((0, 0), (1, 0)))
    if (empty := np.flatnonzero(allowed[:, -1] == 0)).size:
        cluster, index = groups[empty[0]]
        where, fix = f"cluster {cluster}", "use more clusters"
        if laws is not None:
            where += f" and law {str(np.unique(laws)[index])!r}"
            fix = "set macro.exclude_same_law=false"
        raise UserError(
            f"macro.clusters={len(np.unique(clusters))} leaves no negatives for the "
            f"{size[empty[0]]} prompts of {where}: no prompt lies outside; {fix} or add clips"
        )
    ladder = allowed[:, 1:] + (len(group) + 1) * np.arange(len(size))[:, None]
    order = np.argsort(group, kind="stable")
    return Exclusion(group, order, size.cumsum() - size, allowed, ladder.reshape(-1))


def draw(exclusion: Exclusion, samples: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Eq. 2: for each of samples [B], one allowed sample, by u [B] uniform in [0, 1)."""
    group, size = exclusion.group[samples], len(exclusion.group)
    rank = (u * exclusion.allowed[group, -1]).astype(np.int64)  # among the allowed ones
    rung = np.searchsorted(exclusion.ladder, rank + (size + 1) * group, side="right")
    block = rung - group * len(exclusion.start)  # the group that it falls in
    return exclusion.order[exclusion.start[block] + rank - exclusion.allowed[group, block]]


def mean_distance(z: np.ndarray, pools: Exclusion | None = None) -> float:
    """The mean distance |z_i - z_j| of samples z [N, D] to their negatives, over all draws.

    `None`: uniform draws. Exact, in float64 and blocks: every allowed pair counts.
    """
    from scipy.spatial.distance import cdist

    total, size = 0.0, len(z)
    for start in range(0, size, BLOCK):
        rows = np.arange(start, min(start + BLOCK, size))
        allowed = rows[:, None] != np.arange(size)
        if pools is not None:
            may = np.diff(pools.allowed, axis=1) > 0  # [G, G] whether a group's members are allowed
            allowed = may[pools.group[rows]][:, pools.group]
        total += ((cdist(z[rows], z) * allowed).sum(1) / allowed.sum(1)).sum()
    return float(total / size)


def draw_uniform(samples: np.ndarray, u: np.ndarray, size: int) -> np.ndarray:
    """Any of `size` samples but the sample itself (the random-negatives row)."""
    if size < 2:
        raise UserError(f"data.clips={size} leaves no other clip as a negative; use 2 or more")
    rank = (u * (size - 1)).astype(np.int64)
    return rank + (rank >= samples)


def draw_in_batch(u: np.ndarray) -> np.ndarray:
    """DeltaFM's: any other position of the batch, [B]; that sample's own noise belongs to it."""
    if len(u) < 2:
        raise UserError("macro.sampling=batch needs train.batch of 2 or more; it is 1")
    return draw_uniform(np.arange(len(u)), u, len(u))


def uniforms(seed: int, step: int, batch: int, again: int = 0) -> np.ndarray:
    """The u of `draw`, shared by every sampling variant (common random numbers).

    again: other draws of the same distribution (`macro.seed`).
    """
    return noise.uniform(seed, step, f"rand {again}" if again else "rand", batch)
