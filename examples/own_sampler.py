"""Negatives from the nearest other cluster: hard ones, in place of any other cluster (Eq. 2).

python -m sweeps.run examples/own_sampler.py
"""

import numpy as np

from direct import plugins
from sweeps import Ablation, Row


@plugins.sampler
def nearest_cluster(z, labels, laws):
    """Another clip of the cluster whose centre is nearest to that of the clip's own."""
    centres = np.stack([z[labels == k].mean(0) for k in range(labels.max() + 1)])
    gaps = np.linalg.norm(centres[:, None] - centres, axis=-1)  # [K, K]
    np.fill_diagonal(gaps, np.inf)
    members = [np.flatnonzero(labels == k) for k in gaps.argmin(1)]

    def draw(samples, u):
        pools = [members[labels[i]] for i in samples]
        return np.array([pool[int(r * len(pool))] for pool, r in zip(pools, u, strict=True)])

    return draw


NEAREST = Ablation(
    name="nearest",
    table="nearest",
    title="Negatives from any other cluster, or from the nearest",
    header="negatives",
    rows=(
        Row("any other cluster", {}),
        Row("nearest cluster", {"macro.sampling": "nearest_cluster"}),
    ),
    baseline="any other cluster",
    contrasts=(("nearest cluster", "PC"),),
)
