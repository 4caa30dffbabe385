"""Sampling equals diffusers' own pipeline; a prompt's clip depends on nothing beside it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from direct import flow, sampling
from direct.common.errors import UserError
from direct.common.files import load_arrays
from direct.config import Run, Sampling
from direct.data import source
from direct.evaluate import clips
from direct.models import codec
from direct.models.families import wan
from direct.models.pipeline import load_pipeline
from direct.prepare import encode, shared
from direct.prepare.store import Store
from direct.train import loop

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


def test_variants_share_noise_and_zero_shot_is_the_base(small, tmp_path, pipeline_folder):
    base = small(train__steps=0)
    path = clips.generate(Run(base, tmp_path / "cache", tmp_path / "base"))
    made = load_arrays(path)["latents"]
    assert made.shape == (5, *SHAPE) and made.dtype == torch.float32

    still = small(train__steps=1, train__learning_rate=0.0, train__weight_decay=0.0)
    loop.train(Run(still, tmp_path / "cache", tmp_path / "still"))
    same = clips.generate(Run(still, tmp_path / "cache", tmp_path / "still"))
    assert torch.equal(load_arrays(same)["latents"], made)  # nothing learnt: nothing differs

    other = small(train__steps=0, seed=1)
    path = clips.generate(Run(other, tmp_path / "cache", tmp_path / "other"))
    assert not torch.equal(load_arrays(path)["latents"], made)  # a seed has noise of its own


def test_up_sampled_captions_are_prepared_and_the_short_ones_are_not_generated_from(
    small, tmp_path, monkeypatch
):
    longer, short = {}, small(train__steps=0)
    for item in source.evaluation(short):
        longer[item.prompt] = f"{item.prompt} slowly"
    (tmp_path / "longer.json").write_text(json.dumps(longer))
    monkeypatch.setenv("DIRECT_CAPTIONS", str(tmp_path / "longer.json"))
    config, cache = small(train__steps=0, evaluate__captions="upsampled"), tmp_path / "cache"
    shared.build(Run(config, cache))
    with monkeypatch.context() as patch:
        patch.setattr(encode, "_part", lambda *_: pytest.fail("the encoder is loaded again"))
        path = clips.generate(Run(config, cache, tmp_path / "longer"))
    other = clips.generate(Run(small(train__steps=0), cache, tmp_path / "short"))
    a, b = (load_arrays(p)["latents"] for p in (path, other))
    assert a.shape == b.shape and not torch.equal(a, b)


def test_killed_generation_goes_on_and_equals_an_uninterrupted_one(small, tmp_path, monkeypatch):
    config = small(train__steps=0, evaluate__prompts=7)
    monkeypatch.setattr(sampling, "batch_size", lambda *_: 2)
    whole = clips.generate(Run(config, tmp_path / "cache", tmp_path / "whole"))

    class Killed(BaseException):
        pass

    def kill(stage, done, total):
        if done == 4:
            raise Killed

    run = tmp_path / "killed"
    with pytest.raises(Killed):
        clips.generate(Run(config, tmp_path / "cache", run, progress=kill))
    assert not (run / "samples.safetensors").exists()
    calls = []
    sample = sampling.sample
    monkeypatch.setattr(clips, "sample", lambda *a: calls.append(a) or sample(*a))
    path = clips.generate(Run(config, tmp_path / "cache", run))
    assert len(calls) == 2  # of four batches
    assert path.read_bytes() == whole.read_bytes()
    assert not (run / "samples.parts").exists()


def test_damaged_samples_are_named_and_made_again(small, tmp_path, capsys):
    config = small(train__steps=0)
    path = clips.generate(Run(config, tmp_path / "cache", tmp_path / "run"))
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    clips.generate(Run(config, tmp_path / "cache", tmp_path / "run"))
    assert path.read_bytes() == good and "damaged" in capsys.readouterr().out


def test_untrained_cell_and_impossible_sizes_are_refused(small, tmp_path):
    with pytest.raises(UserError, match="train this cell first"):
        clips.generate(Run(small(), tmp_path, tmp_path / "run"))
    for values, message in (
        ({"model__frames": 6}, "model.frames=6 must be a multiple of 4, plus one"),
        ({"model__width": 20}, "model.width=20 must be a multiple of 8"),
    ):
        with pytest.raises(UserError, match=message):
            clips.generate(Run(small(train__steps=0, **values), tmp_path, tmp_path / "run"))


def test_batch_size_is_one_clip_of_the_papers_size_and_at_most_sixteen():
    assert sampling.batch_size((16, 21, 60, 104), (1, 2, 2)) == 1
    assert sampling.batch_size((32, 5, 4, 4), (1, 1, 1)) == 16


def test_store_of_parts_reads_what_it_wrote(tmp_path):
    store = Store(tmp_path / "parts")
    store.write({"a": torch.arange(3.0)})
    assert store.missing(["b", "a", "b"]) == ["b", "a"]  # not read again yet
    store.refresh()
    assert store.missing(["b", "a", "b"]) == ["b"] and store["a"].tolist() == [0, 1, 2]
