"""Wan 2.2's two experts against diffusers' pipeline; one of them trained, the other left alone."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small_wan
import torch
from diffusers import WanPipeline

from direct import sampling
from direct.common import preempt
from direct.common.errors import UserError
from direct.common.files import load_arrays
from direct.config import Model, Run, Sampling
from direct.evaluate.clips import generate
from direct.identity import identity
from direct.measure import counted, plan
from direct.models import codec, experts, pipeline
from direct.prepare import render, shared
from direct.train import batch, loop, reference_cache, trajectory, watch

BOUNDARY = 0.875
ASKED = Sampling(steps=6, guidance=4.0, guidance_low=3.0, shift=5.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(small_wan.build_pipeline(tmp_path_factory.mktemp("a14b") / "pipeline", "2.2-a14b"))


@pytest.fixture
def cell(small, folder):
    """Settings of a small training of one expert."""

    def build(expert="high_noise", **values):
        own = {"model__pipeline": folder, "train__expert": expert, "train__learning_rate": 1e-2}
        return small(**own | {"train__steps": 2, "evaluate__prompts": 2} | values)

    return build


def weights(transformer):
    return transformer.state_dict()


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def sampled(net, model, asked, text, eps):
    levels = pipeline.noise_levels(model, asked)
    velocity = pipeline.velocity(model)
    return sampling.sample(net, text[:1], text[1:], eps, asked, velocity, levels=levels)


@pytest.mark.parametrize("asked", [ASKED, replace(ASKED, guidance=1.0), Sampling(steps=5)])
def test_sampling_with_both_is_the_pipelines(folder, asked):
    """Which expert at which noise level, and its guidance; none at all where the first is 1."""
    theirs, model = pipeline.load_pipeline(folder), Model(pipeline=folder, frames=5, height=16)
    model = replace(model, width=16)
    text, _ = codec.encode_prompts(theirs, ["a red ball falls", ""], 12)
    eps = torch.randn(1, 4, 2, 4, 4, generator=torch.manual_seed(1))
    ours = sampled(experts.base(model, torch.float32), model, asked, text, eps)
    given = {"prompt_embeds": text[:1], "negative_prompt_embeds": text[1:], "latents": eps}
    own = asked.guidance_low or None
    latents = small_wan.by_pipeline(theirs, asked, model, **given, guidance_scale_2=own)
    torch.testing.assert_close(ours, latents, rtol=1e-5, atol=1e-5)
    levels = pipeline.noise_levels(model, asked)[:-1]
    assert (levels >= BOUNDARY).any() and (levels < BOUNDARY).any()
    for alone in (theirs.transformer, theirs.transformer_2):  # it matters which one is asked
        other = sampled(alone, model, replace(asked, guidance_low=0.0), text, eps)
        assert not torch.allclose(ours, other, atol=1e-3)


def test_the_boundary_belongs_to_the_high_noise_expert():
    two = experts.Experts("high", "low", BOUNDARY)
    assert not two.is_low(torch.tensor(875.0)) and two.is_low(torch.tensor(874.99))


@pytest.mark.parametrize(
    ("expert", "part", "rank", "other"),
    [
        ("high_noise", "transformer", 0, "transformer_2"),
        ("low_noise", "transformer_2", 0, "transformer"),
        ("low_noise", "transformer_2", 2, "transformer"),
    ],
)
def test_one_is_trained_at_its_times_and_the_other_stays(cell, tmp_path, expert, part, rank, other):
    config = cell(expert, train__lora_rank=rank)
    theirs = pipeline.load_pipeline(config.model.pipeline)
    run = Run(config, tmp_path / "cache", tmp_path / "run")
    final = loop.train(run)
    told = [json.loads(line) for line in (run.folder / "metrics.jsonl").open()]
    assert told[0]["d_anc"] == 0 < told[1]["d_anc"]  # the reference is the same expert
    trained, was = pipeline.load_transformer(final), getattr(theirs, part)
    assert not same(weights(was), weights(trained))
    # A clip of the run is the pipeline's own with this one expert exchanged.
    made = load_arrays(generate(run))["latents"]
    mixed = WanPipeline.from_pretrained(config.model.pipeline, **{part: trained})
    assert same(weights(getattr(mixed, other)), weights(getattr(theirs, other)))
    if rank:  # the adapter by itself, as the pipeline reads it
        second = {"load_into_transformer_2": True}
        theirs.load_lora_weights(run.folder / "lora", **second)
        theirs.transformer_2.fuse_lora()
        theirs.transformer_2.unload_lora()
        torch.testing.assert_close(weights(was), weights(trained))
    text, _ = codec.encode_prompts(mixed, ["a small red ball falls slowly", ""], 12)
    shape = made.shape[1:]
    eps = sampling.initial_noise(0, ["evaluation-0"], shape, sampling.EVALUATION)
    given = {"prompt_embeds": text[:1], "negative_prompt_embeds": text[1:], "latents": eps}
    latents = small_wan.by_pipeline(mixed, config.sample, config.model, **given)
    torch.testing.assert_close(made[:1], latents, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("expert", ["high_noise", "low_noise"])
def test_a_batchs_times_are_the_experts(cell, tmp_path, expert):
    config = cell(expert, train__batch=64, data__clips=12, loss__lambda_hard=0.0)
    data = shared.open_shared(Run(config, tmp_path / "cache"))
    t = torch.cat([batch.load_batch(config, data, step).t for step in range(4)])
    high = expert == "high_noise"
    assert ((t >= BOUNDARY) == high).all() and t.unique().numel() > 100
    assert experts.times(config) == ((BOUNDARY, float("inf")) if high else (0.0, BOUNDARY))


def test_a_stopped_training_goes_on_bit_for_bit(cell, tmp_path, monkeypatch):
    config = cell("low_noise", train__steps=4, train__checkpoint_every=1)
    whole = loop.train(Run(config, tmp_path / "cache", tmp_path / "whole"))
    monkeypatch.setattr(preempt, "requested", lambda: True)
    for _ in range(3):
        with pytest.raises(preempt.Preempted):
            loop.train(Run(config, tmp_path / "cache", tmp_path / "cut"))
    monkeypatch.setattr(preempt, "requested", lambda: False)
    cut = loop.train(Run(config, tmp_path / "cache", tmp_path / "cut"))
    one, other = (weights(pipeline.load_transformer(folder)) for folder in (whole, cut))
    assert same(one, other)


def test_two_experts_are_two_trainings_of_one_pipeline(cell):
    high, low = cell("high_noise"), cell("low_noise")
    assert identity(high) != identity(low)
    assert trajectory.name(high) != trajectory.name(low)
    folders = {reference_cache._folder(config, Path()) for config in (high, low)}
    assert len(folders) == 2
    stores = {render.hard_store(Run(config, Path())).folder for config in (high, low)}
    assert len(stores) == 1  # negatives are rendered with both


@pytest.mark.parametrize("part", ["transformer", "transformer_2"])
def test_a_pipeline_is_named_by_both(folder, tmp_path, part):
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert pipeline.identity(Model(pipeline=str(copy))) == pipeline.identity(Model(pipeline=folder))
    file = copy / part / "diffusion_pytorch_model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert pipeline.identity(Model(pipeline=str(copy))) != pipeline.identity(Model(pipeline=folder))


def test_neither_is_loaded_where_the_transformer_is_left_out(folder):
    loaded = pipeline.load_pipeline(folder, without=("transformer", "text_encoder"))
    assert loaded.transformer is None and loaded.transformer_2 is None and loaded.vae is not None


def test_a_watched_training_shows_clips_of_both(cell, tmp_path, monkeypatch):
    config = cell(train__sample_every=2)
    seen = []
    monkeypatch.setattr(
        watch.clip, "latents", lambda c, net, *a: seen.append(net) or torch.empty(0)
    )
    monkeypatch.setattr(watch.clip, "decoded", lambda model, z: np.zeros((5, 16, 16, 3), "u1"))
    loop.train(Run(config, tmp_path / "cache", tmp_path / "run"))
    assert [type(net) for net in seen] == [experts.Experts] * 2
    low = pipeline.load_transformer(config.model.pipeline, expert="low_noise")
    assert same(weights(seen[0].low), weights(low))


@pytest.mark.slow
def test_a_plan_counts_both(cell, monkeypatch):
    config, gpu = cell(), plan.GPUS["h100-80g"]
    low = pipeline.load_transformer(config.model.pipeline, expert="low_noise")
    one, found = sum(p.numel() for p in low.parameters()), counted.count(config)
    assert (found.experts, found.weights, found.trained) == (2, one, one)
    both = {step.name: step for step in plan.steps(config, gpu, 1, 0.5)}
    monkeypatch.setattr(plan, "count", lambda config: replace(found, experts=1))
    for alone in plan.steps(config, gpu, 1, 0.5):
        more = 4 * one if alone.name in ("render", "evaluate") else 0  # fp32
        assert (both[alone.name].memory or 0) - (alone.memory or 0) == more, alone.name
        assert (both[alone.name].host or 0) - (alone.host or 0) == more, alone.name


def test_what_does_not_fit_the_pipeline_is_refused_before_any_work(small, cell, tmp_path):
    gain, base = {"measure__kind": "gain"}, {"train__steps": 0}
    for config, said in (
        (cell("only"), r"has two experts; set train\.expert=high_noise or low_noise"),
        (cell(**gain), "measure.kind=gain is about noise levels of both"),
        (small(train__expert="low_noise"), "has one transformer; set train.expert=only"),
        (small(sample__guidance_low=2.0, **base), "has one transformer; set sample.guidance_low=0"),
        (small(hard_sample__guidance_low=2.0), "transformer; set hard_sample.guidance_low=0"),
    ):
        with pytest.raises(UserError, match=said):
            experts.check(config)
    experts.check(cell("only", **base))
    experts.check(small(hard_sample__guidance_low=2.0, train__expert="low_noise", **base))
    with pytest.raises(UserError, match="has two experts; set train"):
        loop.train(Run(cell("only"), tmp_path / "cache", tmp_path / "run"))
    assert not (tmp_path / "cache").exists()
    with pytest.raises(UserError, match="has two experts; set train"):
        pipeline.load_transformer(cell().model.pipeline)
    with pytest.raises(UserError, match="has one transformer, and no expert low_noise"):
        pipeline.load_transformer(small().model.pipeline, expert="low_noise")
