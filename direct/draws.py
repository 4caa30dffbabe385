"""Stateless random numbers: every draw is a pure function of (seed, step, global sample).

Nothing is kept between steps, so a resumed run draws what an uninterrupted one would have, and two
variants with the same seed see the same data order, times and negatives (common random numbers).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .files import stable_seed


def uniform(seed: int, step: int, stream: str, count: int) -> np.ndarray:
    """[count] float64 in [0, 1), one per global sample; entry b does not depend on `count`."""
    return np.random.Generator(np.random.Philox(key=stable_seed(seed, step, stream))).random(count)


def indices(seed: int, step: int, batch: int, size: int) -> np.ndarray:
    """[batch] int64: which of `size` samples global batch `step` holds, by epoch permutations."""
    position = step * batch + np.arange(batch)
    epochs = position // size
    chosen = np.empty(batch, np.int64)
    for epoch in np.unique(epochs):
        chosen[epochs == epoch] = _permutation(seed, int(epoch), size)[
            position[epochs == epoch] % size
        ]
    return chosen


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    generator = np.random.Generator(np.random.Philox(key=stable_seed(seed, epoch, "order")))
    return generator.permutation(size)
