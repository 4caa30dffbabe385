"""Kinds of negatives that a measurement draws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from direct import noise
from direct.common.errors import UserError
from direct.config import Run
from direct.measure.kinds import Negatives, draw_same
from direct.prepare import shared
from direct.train.batch import load_batch


def test_same_cluster_negatives():
    labels = np.array([0, 0, 0, 1, 2, 2])
    rng = np.random.default_rng(0)
    samples = np.repeat(np.arange(6), 300)
    drawn = draw_same(labels, samples, rng.random(len(samples)))
    for i, others in {0: {1, 2}, 1: {0, 2}, 2: {0, 1}, 3: {-1}, 4: {5}, 5: {4}}.items():
        own = drawn[samples == i]
        assert set(own) == others, "another sample of the cluster, never itself"
        assert min(np.bincount(own[own >= 0], minlength=6)[list(others - {-1})], default=150) > 110


@pytest.mark.slow
def test_every_kind_is_what_its_name_says(small, tmp_path):
    """By the clips themselves: whose latents each kind holds, in which cluster, with what noise."""
    config = small(measure__kind="alignment", train__prompt_dropout=0.3, train__batch=8)
    run = Run(config, tmp_path)
    data = shared.open_shared(run)
    batch = load_batch(config, data, 3)
    found = Negatives(run, data)(3, batch)
    labels = np.array(shared.partition(run, data.samples)["labels"])
    latents = data.latents(range(len(data.samples)))

    def owner(x):
        return [int((latents - one).abs().flatten(1).sum(1).argmin()) for one in x]

    anchors = owner(batch.x)
    for b, (anchor, same, other, random) in enumerate(
        zip(anchors, *(owner(found[kind].x) for kind in ("same", "other", "random")), strict=True)
    ):
        assert random != anchor and labels[other] != labels[anchor]
        if found["same"].weight[b]:
            assert labels[same] == labels[anchor] and same != anchor
    assert torch.equal(found["mans"].x, batch.x_rand)
    assert found["hard"] is found["mins"] and torch.equal(found["mins"].x, batch.x_hard)
    assert not found["mans_marginal"].eps.any() and found["mans_marginal"].x is batch.x_rand
    eps = noise.normal(batch.key, batch.x.shape, term=noise.RAND)
    assert all(torch.equal(found[kind].eps, eps) for kind in ("random", "mans", "same", "other"))
    assert torch.equal(found["mins"].weight, batch.weight[:, 2])
    assert (found["same"].weight <= batch.weight[:, 1]).all()


@pytest.mark.slow
def test_a_batch_without_a_kind_is_refused(small, tmp_path):
    config = small(measure__kind="alignment", train__prompt_dropout=0.0)
    run = Run(config, tmp_path)
    data = shared.open_shared(run)
    batch = load_batch(config, data, 0)
    bare = replace(batch, weight=batch.weight * torch.tensor([1, 1, 0, 1]))
    with pytest.raises(UserError, match=r"step 0: no sample .* kind 'mins'; raise train.batch=4"):
        Negatives(run, data)(0, bare)
