"""Kinds of negatives that a measurement draws."""

from __future__ import annotations

import numpy as np

from direct.measure.kinds import draw_same


def test_same_cluster_negatives():
    labels = np.array([0, 0, 0, 1, 2, 2])
    rng = np.random.default_rng(0)
    samples = np.repeat(np.arange(6), 300)
    drawn = draw_same(labels, samples, rng.random(len(samples)))
    for i, others in {0: {1, 2}, 1: {0, 2}, 2: {0, 1}, 3: {-1}, 4: {5}, 5: {4}}.items():
        own = drawn[samples == i]
        assert set(own) == others, "another sample of the cluster, never itself"
        assert min(np.bincount(own[own >= 0], minlength=6)[list(others - {-1})], default=150) > 110
