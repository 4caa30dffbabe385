"""Mean training clips, against numpy's means of the same latents."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from direct.config import Run
from direct.data import source
from direct.prepare import means, shared
from direct.prepare.encode import clip_latents, pooled


@pytest.fixture
def run(small, tmp_path):
    def build(**values):
        return Run(small(**values), tmp_path)

    return build


def clips(run):
    samples = source.training(run)
    return samples, clip_latents(run, samples)(range(len(samples))).double().numpy()


def test_without_a_gain_nothing_is_made(run):
    one = run()
    assert one.config.sample.gain == 0 and means.references(one, ["a ball"]) is None
    assert not list(one.cache.iterdir())


def test_the_pools_mean_is_the_mean_of_all_clips(run, monkeypatch):
    monkeypatch.setattr(means, "BLOCK", 5)  # of 12: the last block is short
    one = run(sample__gain=0.1, sample__gain_about="pool")
    found = means.references(one, ["a ball", "a box"])
    np.testing.assert_allclose(found[0], clips(one)[1].mean(0), rtol=1e-5, atol=1e-6)
    assert found.shape[0] == 1 and found.dtype == torch.float32
    zero = means.references(run(sample__gain=0.1, sample__gain_about="zero"), ["a ball"])
    assert zero.shape == found.shape and not zero.any()
    monkeypatch.setattr(means, "clip_latents", lambda *_: pytest.fail("read again"))
    assert torch.equal(means.references(one, ["a ball"]), found)


def test_outside_is_the_mean_of_the_clips_of_other_clusters(run):
    one = run(sample__gain=0.1, sample__gain_about="outside")
    samples, latents = clips(one)
    labels = np.array(shared.partition(one, samples)["labels"])
    prompts = [samples[i].prompt for i in (0, 5, 9)]
    z = pooled(one, [item.prompt for item in samples])
    centroids = np.stack([z[labels == k].mean(0) for k in range(labels.max() + 1)])
    found = means.references(one, prompts)
    for row, prompt in zip(found, pooled(one, prompts), strict=True):
        nearest = int(np.linalg.norm(centroids - prompt, axis=1).argmin())
        expected = latents[labels != nearest].mean(0)
        np.testing.assert_allclose(row, expected, rtol=1e-5, atol=1e-5)
