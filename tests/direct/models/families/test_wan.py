"""Wan 2.1 and TI2V-5B: sizes of their classes, and velocities against diffusers' own calls."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import small_wan
import torch
from diffusers import AutoencoderKLWan, WanPipeline

from direct import sampling
from direct.common.errors import UserError
from direct.common.files import load_arrays
from direct.config import Model, Run, Sampling
from direct.evaluate.clips import generate
from direct.models import codec, families
from direct.models.families import ltx, wan
from direct.models.pipeline import (
    latent_shape,
    load_pipeline,
    load_transformer,
    noise_levels,
    velocity,
)
from direct.profiles import profile
from direct.settings import with_values
from direct.train import loop


@pytest.fixture(scope="module")
def pipeline(pipeline_folder):
    return load_pipeline(str(pipeline_folder))


def test_classes_belong_to_their_family():
    for family in (wan, ltx):
        for name in (family.PIPELINE, family.TRANSFORMER, family.VAE):
            assert families.of(name) is family
    with pytest.raises(UserError, match=r"FluxPipeline.*use a WanPipeline or LTXPipeline"):
        families.of("FluxPipeline")


@pytest.mark.slow
def test_released_wan_has_the_strides_of_its_autoencoder():
    with torch.device("meta"):
        vae = AutoencoderKLWan()
        pixels = torch.empty(1, 3, 9, 32, 48)
    latents = vae.encode(pixels).latent_dist.mode()
    temporal, spatial = wan.strides(vae.config)
    assert (temporal, spatial) == (4, 8)
    assert latents.shape[2:] == ((9 - 1) // temporal + 1, 32 // spatial, 48 // spatial)


def test_sizes_are_the_models_own(pipeline):
    assert wan.strides(pipeline.vae.config) == (4, 4)
    assert wan.patch(pipeline.transformer.config) == (1, 2, 2)
    assert wan.text_dim(pipeline.transformer.config) == pipeline.text_encoder.config.d_model
    mean, std = wan.latent_scale(pipeline.vae)
    assert mean.tolist() == pytest.approx([0.1, -0.2, 0.3, 0.0])
    assert std.tolist() == [0.5, 1.5, 2.0, 1.0]


def test_velocity_tells_the_transformer_thousandths(pipeline):
    x, text = torch.randn(2, 4, 2, 4, 4), torch.randn(2, 12, 24)
    t = torch.tensor([0.25, 1.0])
    found = wan.velocity(Model(), None)(pipeline.transformer, x, t, text)
    theirs = pipeline.transformer(x, torch.tensor([250.0, 1000.0]), text, return_dict=False)[0]
    assert torch.equal(found, theirs) and found.shape == x.shape


@pytest.fixture(scope="module")
def ti2v(tmp_path_factory):
    return str(small_wan.build_pipeline(tmp_path_factory.mktemp("ti2v") / "pipeline", "2.2-5b"))


def test_ti2v_from_text_is_its_own_pipeline(ti2v):
    """Latents, times of tokens, guidance and pixels of the real classes, at equal noise levels."""
    theirs, asked = load_pipeline(ti2v), Sampling(steps=4, guidance=4.0, shift=3.0)
    assert theirs.config.expand_timesteps
    text, _ = codec.encode_prompts(theirs, ["a red ball falls", ""], 12)
    model = Model(pipeline=ti2v, frames=5, height=64, width=32)
    config = replace(profile("tiny"), model=model)
    assert latent_shape(config, theirs.transformer, theirs.vae.config) == (48, 2, 4, 2)
    eps = torch.randn(1, 48, 2, 4, 2, generator=torch.manual_seed(1))
    ours = sampling.sample(
        theirs.transformer,
        text[:1],
        text[1:],
        eps,
        asked,
        velocity(model),
        levels=noise_levels(model, asked),
    )
    given = {"prompt_embeds": text[:1], "negative_prompt_embeds": text[1:], "latents": eps}
    latents = small_wan.by_pipeline(theirs, asked, model, **given)
    torch.testing.assert_close(ours, latents, rtol=1e-5, atol=1e-5)
    pixels = small_wan.by_pipeline(theirs, asked, model, **given, output_type="np")[0] * 255
    assert np.abs(codec.decode_latents(theirs, ours)[0] - pixels).max() <= 0.51


def test_ti2vs_latents_are_its_autoencoders(ti2v):
    loaded = load_pipeline(ti2v, without=("transformer", "text_encoder"))
    videos = np.random.default_rng(0).integers(0, 256, (1, 5, 32, 32, 3), np.uint8)
    latents = codec.encode_videos(loaded, videos)
    pixels = torch.from_numpy(videos).permute(0, 4, 1, 2, 3) / 127.5 - 1
    mode = loaded.vae.encode(pixels).latent_dist.mode()
    mean, std = (
        torch.tensor(small_wan.VAE_5B[name]).view(1, -1, 1, 1, 1)
        for name in ("latents_mean", "latents_std")
    )
    assert latents.shape == (1, 48, 2, 2, 2)
    torch.testing.assert_close(latents, (mode - mean) / std, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rank", [0, 2])
def test_ti2v_trains_renders_negatives_and_generates(small, ti2v, tmp_path, rank):
    size = {"model__height": 32, "model__width": 32, "model__fps": 24}
    config = small(
        model__pipeline=ti2v,
        **size,
        train__steps=2,
        train__lora_rank=rank,
        train__learning_rate=1e-2,
        evaluate__prompts=2,
    )
    run = Run(config, tmp_path / "cache", tmp_path / "run")
    final = loop.train(run)
    told = [json.loads(line) for line in (run.folder / "metrics.jsonl").open()]
    assert told[0]["d_anc"] == 0 < told[-1]["d_anc"] and told[-1]["d_hard"] is not None
    WanPipeline.from_pretrained(ti2v, transformer=load_transformer(final))
    made = load_arrays(generate(run))["latents"]
    assert made.shape == (2, 48, 2, 2, 2) and made.isfinite().all()
    before = load_arrays(
        generate(
            replace(run, config=with_values(config, {"train.steps": 0}), folder=tmp_path / "base")
        )
    )
    assert not torch.allclose(made, before["latents"], atol=1e-4)


def test_states_and_pixels_are_the_modules_own(pipeline):
    ids, mask = torch.tensor([[5, 6, 1, 0]]), torch.tensor([[1, 1, 1, 0]])
    states = wan.states(pipeline.text_encoder, ids, mask)
    alone = pipeline.text_encoder(ids[:, :3], mask[:, :3]).last_hidden_state
    torch.testing.assert_close(states[:, :3], alone, rtol=1e-4, atol=1e-5)
    z = torch.randn(1, 4, 2, 4, 4)
    assert torch.equal(wan.decode(pipeline.vae, z), pipeline.vae.decode(z).sample)
