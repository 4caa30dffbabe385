"""Noise levels against the schedulers of diffusers, as the families' own pipelines set them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
)
from small_pipelines import LTX_SCHEDULER

from direct import flow, sampling
from direct.common.errors import UserError
from direct.config import Model, Run, Sampling
from direct.evaluate import clips
from direct.models import schedule
from direct.models.families import ltx, wan
from direct.models.pipeline import load_pipeline, noise_levels
from direct.prepare import encode, render
from direct.profiles import profile

WAN_SCHEDULER = {  # as Wan 2.1 is released
    "prediction_type": "flow_prediction",
    "use_flow_sigmas": True,
    "flow_shift": 3.0,
}


def with_scheduler(source, folder, scheduler):
    """The pipeline in `source` with another scheduler, in `folder`."""
    shutil.copytree(source, folder)
    shutil.rmtree(folder / "scheduler")
    scheduler.save_pretrained(folder / "scheduler")
    index = json.loads((folder / "model_index.json").read_text())
    index["scheduler"] = ["diffusers", type(scheduler).__name__]
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture
def released(pipeline_folder, tmp_path):
    """The small Wan pipeline with the scheduler of the released one."""
    unipc = UniPCMultistepScheduler(**WAN_SCHEDULER)
    return with_scheduler(pipeline_folder, tmp_path / "released", unipc)


def test_wans_levels_are_those_that_its_pipeline_samples_at(released):
    pipeline = load_pipeline(str(released))
    pipeline.set_progress_bar_config(disable=True)
    pipeline(
        prompt_embeds=torch.zeros(1, 3, 24),
        height=16,
        width=16,
        num_frames=5,
        num_inference_steps=7,
        guidance_scale=1.0,
        output_type="latent",
    )
    model = Model(pipeline=str(released), frames=5, height=16, width=16)
    for shift in (3.0, 0.0):  # given, or left to the pipeline
        levels = noise_levels(model, Sampling(steps=7, shift=shift))
        np.testing.assert_allclose(levels, pipeline.scheduler.sigmas, rtol=1e-6, atol=0)
    assert levels[-2] == pytest.approx(3 * 0.1437 / (1 + 2 * 0.1437), abs=1e-3)
    other = noise_levels(model, Sampling(steps=7, shift=8.0))
    again = UniPCMultistepScheduler(**WAN_SCHEDULER | {"flow_shift": 8.0})
    again.set_timesteps(7)
    np.testing.assert_array_equal(other, again.sigmas)


def test_ltx_ends_where_its_scheduler_does_and_shifts_by_the_size_of_the_clip():
    """diffusers' pipeline at the paper's size: mu of 3,630 tokens, stretched to end at 0.1."""
    from diffusers.pipelines.ltx.pipeline_ltx import calculate_shift

    theirs = FlowMatchEulerDiscreteScheduler(**LTX_SCHEDULER)
    mu = calculate_shift(3630, 1024, 4096, 0.95, 2.05)
    theirs.set_timesteps(sigmas=np.linspace(1, 1 / 50, 50), mu=mu)
    assert schedule.own_shift(theirs.config, 3630) == pytest.approx(np.exp(mu))
    for shift, exact in ((0.0, 1e-6), (profile("ltx-video").sample.shift, 5e-4)):
        levels = schedule.levels(theirs, ltx.points(50), 50, shift, 3630)
        np.testing.assert_allclose(levels, theirs.sigmas, atol=exact)
        assert levels[-2] == pytest.approx(0.1) and levels[0] == 1


@pytest.mark.parametrize(("steps", "shift"), [(12, 2.0), (50, 3.0), (1, 5.0)])
def test_without_a_level_of_its_own_a_scheduler_shifts_once_as_ever(steps, shift):
    """The tiny profile's results rest on these very bits."""
    scheduler = FlowMatchEulerDiscreteScheduler(shift=2.0)
    levels = schedule.levels(scheduler, wan.points(steps), steps, shift, 64)
    assert levels.tobytes() == flow.sampling_grid(steps, shift).tobytes()
    assert schedule.own_shift(scheduler.config, 64) == 2.0


def test_the_packaged_pipelines_levels_are_the_plain_grid():
    tiny = profile("tiny")
    levels = noise_levels(tiny.model, tiny.sample)
    assert levels.tobytes() == flow.sampling_grid(12, 2.0).tobytes()


@pytest.mark.parametrize("own", [{"shift_terminal": 0.1}, {"use_karras_sigmas": True}])
def test_what_else_a_scheduler_says_counts(own):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, **own)
    levels = schedule.levels(scheduler, None, 6, 3.0, 64)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1e-3, 6))
    np.testing.assert_array_equal(levels, scheduler.sigmas)
    assert abs(levels - flow.sampling_grid(6, 3.0)).max() > 0.05


@pytest.mark.parametrize(
    ("scheduler", "said"),
    [
        (DDIMScheduler(), "DDIMScheduler does not sample a flow"),
        (UniPCMultistepScheduler(), "UniPCMultistepScheduler does not sample a flow"),
        (FlowMatchEulerDiscreteScheduler(stochastic_sampling=True), "stochastic_sampling or"),
        (FlowMatchEulerDiscreteScheduler(invert_sigmas=True), "stochastic_sampling or invert"),
        (FlowMatchEulerDiscreteScheduler(num_train_timesteps=500), "=500, not 1000"),
    ],
)
def test_a_scheduler_that_we_cannot_follow_is_refused(scheduler, said):
    with pytest.raises(UserError, match=f"{said}.*another scheduler"):
        schedule.check(scheduler)


def test_it_is_refused_when_the_pipeline_is_loaded(pipeline_folder, tmp_path):
    folder = with_scheduler(pipeline_folder, tmp_path / "other", DDIMScheduler())
    with pytest.raises(UserError, match="DDIMScheduler does not sample a flow"):
        load_pipeline(str(folder), without=("text_encoder", "vae", "transformer"))


@pytest.mark.filterwarnings("ignore:invalid value")  # diffusers stretches one level by nothing
def test_levels_that_do_not_fall_to_zero_are_refused():
    scheduler = FlowMatchEulerDiscreteScheduler(shift_terminal=0.1)
    with pytest.raises(UserError, match="no 1 noise levels that fall to 0 at shift 3"):
        schedule.levels(scheduler, None, 1, 3.0, 64)


def test_clips_and_hard_negatives_are_sampled_at_them(small, released, tmp_path, monkeypatch):
    seen = []

    def sample(net, prompt, negative, eps, settings, velocity, x_ref=None, levels=None, **_):
        seen.append(levels)
        return eps

    monkeypatch.setattr(clips, "sample", sample)
    monkeypatch.setattr(render.sampling, "sample", sample)
    config = small(train__steps=0, evaluate__prompts=1, model__pipeline=str(released))
    run = Run(config, tmp_path / "cache", tmp_path / "run")
    clips.generate(run)
    encode.texts(run, ["a red ball falls"])
    render._render(run, ["a red ball falls"])
    render.release()
    for levels, settings in zip(seen, (config.sample, config.hard_sample), strict=True):
        theirs = UniPCMultistepScheduler(**WAN_SCHEDULER | {"flow_shift": settings.shift})
        theirs.set_timesteps(settings.steps)
        np.testing.assert_array_equal(levels, theirs.sigmas)


def gaussian(steps, solver):
    """How far clips N(2, 0.5^2) of a known flow end from where they must, at shift 2."""
    mean, spread = 2.0, 0.5

    def velocity(_, x, t, text):
        t = t.view(-1, 1, 1, 1, 1)
        off, variance = x - (1 - t) * mean, ((1 - t) * spread) ** 2 + t**2
        return t * off / variance - mean - (1 - t) * spread**2 * off / variance

    x = torch.linspace(-2, 2, 33).view(-1, 1, 1, 1, 1)
    levels, advance = solver(steps)
    settings, text = Sampling(steps=steps, guidance=1.0), torch.zeros(33, 1, 1)
    like = torch.nn.Linear(1, 1)
    like.dtype = torch.float32
    found = sampling.sample(
        like, text, text[:1], x, settings, velocity, levels=levels, advance=advance
    )
    return (found - mean - spread * x).square().mean().sqrt().item()


def test_unipc_is_of_second_order_where_euler_is_of_first():
    def euler(steps):
        return flow.sampling_grid(steps, 2.0), sampling.euler

    def unipc(steps):
        return schedule.unipc(steps, 2.0)

    first, second = ([gaussian(n, kind) for n in (6, 12, 24)] for kind in (euler, unipc))
    assert all(b < a for a, b in zip(first, second, strict=True))
    assert first[0] / first[2] < 5 and second[0] / second[2] > 16


def test_unipc_is_what_the_released_scheduler_does():
    ours = UniPCMultistepScheduler(**WAN_SCHEDULER)
    ours.set_timesteps(4)
    levels, advance = schedule.unipc(4, 3.0)
    assert levels.tolist() == ours.sigmas.tolist() and levels[-1] == 0
    x = y = torch.ones(1, 2)
    for k, t in enumerate(ours.timesteps):
        v = torch.sin(x + k)
        x, y = ours.step(v, t, x).prev_sample, advance(y, v, None, None)
    assert torch.equal(x, y)
