"""Mean training clips: of all, of those outside a prompt's cluster, by brute force."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from direct.config import Run
from direct.data import source
from direct.prepare import means
from direct.prepare.encode import clip_latents, pooled
from direct.prepare.shared import partition


@pytest.fixture
def run(small, tmp_path):
    return Run(small(sample__gain=0.1, macro__clusters=3), tmp_path)


def about(run, kind):
    config = run.config
    return replace(run, config=replace(config, sample=replace(config.sample, gain_about=kind)))


def test_pool_is_the_mean_clip_and_is_made_once(run, monkeypatch):
    samples = source.training(run)
    x = clip_latents(run, samples)(range(len(samples)))
    monkeypatch.setattr(means, "BLOCK", 5)  # of twelve clips
    found = means.references(run, ["a red ball"])
    torch.testing.assert_close(found, x.double().mean(0, keepdim=True).float())
    monkeypatch.setattr(means, "clip_latents", lambda *_: pytest.fail("computed again"))
    assert torch.equal(means.references(run, ["another prompt"]), found)


def test_clusters_is_the_mean_of_the_clips_outside_the_nearest_cluster(run):
    samples = source.training(run)
    x = clip_latents(run, samples)(range(len(samples))).double()
    labels = np.array(partition(run, samples)["labels"])
    prompts = [samples[3].prompt, "a large red ball rises quickly", samples[8].prompt]
    found = means.references(about(run, "clusters"), prompts)
    z, own = pooled(run, [item.prompt for item in samples]), pooled(run, prompts)
    centroids = [z[labels == k].mean(0) for k in range(3)]
    for row, point in zip(found, own, strict=True):
        nearest = min(range(3), key=lambda k: np.linalg.norm(point - centroids[k]))
        expected = x[torch.from_numpy(labels != nearest)].mean(0).float()
        torch.testing.assert_close(row, expected, rtol=1e-5, atol=1e-5)


def test_zero_and_no_gain(run, small):
    zero = means.references(about(run, "zero"), ["a ball"])
    assert zero.shape == (1, 4, 2, 4, 4) and not zero.any()
    plain = replace(run, config=small())
    assert means.references(plain, ["a ball"]) is None
