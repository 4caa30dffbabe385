"""Mean clips of training, of those outside a prompt's cluster, of negatives, by brute force."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import WanPipeline
from small_wan import by_pipeline

from direct import sampling
from direct.common.errors import UserError
from direct.config import Run
from direct.data import source
from direct.negatives import micro
from direct.prepare import means, render, shared
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


def test_negatives_is_the_mean_of_what_the_base_makes_of_the_prompts_own_perturbed_ones(
    run, pipeline_folder, monkeypatch
):
    """Against diffusers' pipeline: perturbed, kept and rendered anew, prompt by prompt."""
    run = about(run, "negatives")
    config, settings = run.config, run.config.hard_sample
    shared.build([run])
    monkeypatch.setattr(render, "_render", lambda *_: pytest.fail("rendered again"))
    items = source.evaluation(config)[1:3]
    found = means.references(run, [item.prompt for item in items])
    assert found.shape == (2, 4, 2, 4, 4)
    pipeline = WanPipeline.from_pretrained(pipeline_folder)
    for item, x_ref in zip(items, found, strict=True):
        asked = config.micro.axes, config.micro.candidates
        made = micro.candidates(item.id, item.prompt, item.perturb, *asked)
        z = pooled(run, [item.prompt, *(text for _, text in made)])
        near = [float(a @ z[0] / np.linalg.norm(a) / np.linalg.norm(z[0])) for a in z[1:]]
        best = sorted(range(len(made)), key=lambda k: -near[k])[: config.micro.keep]
        rendered = [_sampled(pipeline, config, made[k][1], settings) for k in best]
        torch.testing.assert_close(x_ref, torch.stack(rendered).mean(0), rtol=1e-4, atol=1e-4)


def _sampled(pipeline, config, prompt, settings):
    """diffusers' latents [C, T, H, W] of a perturbed prompt, from its noise."""
    eps = sampling.initial_noise(0, [prompt], (4, 2, 4, 4), sampling.HARD)
    text = {"prompt": prompt, "negative_prompt": settings.negative_prompt, "latents": eps}
    length = config.model.text_length
    return by_pipeline(pipeline, settings, config.model, max_sequence_length=length, **text)[0]


def test_seeds_and_trainings_share_the_rendered_negatives(run, tmp_path):
    run = about(run, "negatives")
    shared.build([run])
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "hard").rglob("*.safetensors")}
    trained = replace(run.config, seed=1, train=replace(run.config.train, steps=0))
    shared.build([replace(run, config=trained)])
    assert (
        before.items()
        <= {
            path: path.stat().st_mtime_ns for path in (tmp_path / "hard").rglob("*.safetensors")
        }.items()
    )


def test_prompts_without_a_perturbed_one_are_refused_before_anything_is_rendered(run):
    run = about(run, "negatives")
    config = replace(run.config, micro=replace(run.config.micro, axes=("forces",)))
    with pytest.raises(UserError, match="5 of 5 prompts that are judged have no perturbed prompt"):
        shared.build([replace(run, config=config)])
    assert not (run.cache / "hard").exists()


def test_zero_and_no_gain(run, small):
    zero = means.references(about(run, "zero"), ["a ball"])
    assert zero.shape == (1, 4, 2, 4, 4) and not zero.any()
    plain = replace(run, config=small())
    assert means.references(plain, ["a ball"]) is None
