"""Sampling equals diffusers' own pipeline; a prompt's clip depends on nothing beside it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from direct import flow, noise, sampling
from direct.config import Sampling
from direct.models import codec
from direct.models.families import wan
from direct.models.pipeline import load_pipeline

SHAPE = (4, 2, 4, 4)  # of the fixture's latents: 5 frames of 16 x 16
VELOCITY = wan.velocity(None, None)


def inputs(pipeline, count: int = 2):
    prompts = ["a red ball falls slowly", "a large box slides to the left"] * count
    text, _ = codec.encode_prompts(pipeline, prompts[:count], 12)
    negative, _ = codec.encode_prompts(pipeline, ["a rough wall"], 12)
    names = [f"clip {n}" for n in range(count)]
    return text, negative, sampling.initial_noise(0, names, SHAPE, sampling.EVALUATION)


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_sample_equals_the_diffusers_pipeline(pipeline_folder, guidance):
    pipeline = load_pipeline(str(pipeline_folder))
    settings = Sampling(steps=5, guidance=guidance, shift=3.0)
    text, negative, eps = inputs(pipeline)
    ours = sampling.sample(pipeline.transformer, text, negative, eps, settings, VELOCITY)

    assert pipeline.scheduler.config.shift == settings.shift
    set_timesteps = pipeline.scheduler.set_timesteps
    levels = np.linspace(1, 1 / 1000, settings.steps)  # the scheduler shifts these, once
    pipeline.scheduler.set_timesteps = lambda steps, device: set_timesteps(sigmas=levels)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        prompt_embeds=text,
        negative_prompt_embeds=negative.expand_as(text),
        latents=eps,
        height=16,
        width=16,
        num_frames=5,
        num_inference_steps=settings.steps,
        guidance_scale=guidance,
        output_type="latent",
    ).frames
    np.testing.assert_allclose(
        pipeline.scheduler.sigmas, flow.sampling_grid(settings.steps, 3.0), rtol=1e-6
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert (ours - eps).abs().max() > 0.1


def test_euler_is_exact_for_a_straight_flow():
    """With v = eps - x0 everywhere, any number of steps lands on x0."""
    x0, eps = torch.randn(2, *SHAPE), torch.randn(2, *SHAPE)

    class Straight:
        dtype = torch.float32

        def __call__(self, x, t, text, return_dict):
            return ((eps - x0).repeat(len(x) // 2, 1, 1, 1, 1),)

    text = torch.zeros(2, 3, 8)
    for steps in (1, 7):
        settings = Sampling(steps=steps, guidance=5.0)
        made = sampling.sample(Straight(), text, text[:1], eps, settings, VELOCITY)
        torch.testing.assert_close(made, x0, atol=1e-5, rtol=1e-5)


def test_a_clip_does_not_depend_on_its_batch(pipeline_folder):
    """Bit for bit: alone in a batch of fixed size, or among others, at any place."""
    pipeline = load_pipeline(str(pipeline_folder))
    settings = Sampling(steps=2, guidance=3.0)
    text, negative, eps = inputs(pipeline, 4)
    whole = sampling.sample(pipeline.transformer, text, negative, eps, settings, VELOCITY)
    order = torch.tensor([3, 3, 0, 3])
    moved = sampling.sample(
        pipeline.transformer, text[order], negative, eps[order], settings, VELOCITY
    )
    assert torch.equal(moved, whole[order])


def test_initial_noise_is_a_function_of_seed_and_name_alone():
    def make(seed, names):
        return sampling.initial_noise(seed, names, SHAPE, sampling.EVALUATION)

    many = make(0, ["a", "b", "c"])
    assert torch.equal(make(0, ["c"])[0], many[2])
    assert not torch.equal(make(1, ["c"])[0], many[2])
    assert many.std().item() == pytest.approx(1, abs=0.15)


def test_batch_size_is_one_clip_of_the_papers_size_and_at_most_sixteen():
    assert sampling.batch_size((16, 21, 60, 104), (1, 2, 2)) == 1
    assert sampling.batch_size((32, 5, 4, 4), (1, 1, 1)) == 16


def test_streams_of_noise_differ():
    shape = (2, 1, 1, 4, 4)
    made = [
        noise.normal(noise.keys(0, 0, [5, 6], stream), shape)
        for stream in (sampling.TRAINING, sampling.EVALUATION, sampling.HARD)
    ]
    assert not any(torch.equal(made[i], made[j]) for i in range(3) for j in range(i))
    assert flow.TIMESTEPS == 1000
