"""Wan 2.1: the sizes its classes have, and its velocity against diffusers' own call."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan, WanPipeline

from direct import sampling
from direct.common.errors import UserError
from direct.config import Model, Sampling
from direct.models import codec, families
from direct.models.families import ltx, wan
from direct.models.pipeline import latent_shape, load_pipeline, noise_levels, velocity
from direct.profiles import profile


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
def ti2v(pipeline, tmp_path_factory):
    """A small pipeline of Wan 2.2's TI2V-5B: its residual VAE on patches, its times of tokens."""
    torch.manual_seed(0)
    vae = AutoencoderKLWan(
        base_dim=4,
        decoder_base_dim=8,
        z_dim=4,
        dim_mult=[1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[True, True],
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[0.5, 1.5, 2.0, 1.0],
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=8,
    )
    parts = pipeline.components | {"vae": vae.eval()}
    folder = tmp_path_factory.mktemp("ti2v") / "pipeline"
    WanPipeline(**parts, expand_timesteps=True).save_pretrained(folder)
    return str(folder)


def test_ti2v_from_text_is_its_own_pipeline(ti2v):
    """Latents, times, guidance and pixels of the real classes, at equal noise levels."""
    theirs, asked = load_pipeline(ti2v), Sampling(steps=4, guidance=4.0, shift=3.0)
    theirs.set_progress_bar_config(disable=True)
    assert theirs.config.expand_timesteps
    text, _ = codec.encode_prompts(theirs, ["a red ball falls"], 12)
    negative, _ = codec.encode_prompts(theirs, [""], 12)
    eps = torch.randn(1, 4, 2, 4, 4, generator=torch.manual_seed(1))
    model = Model(pipeline=ti2v, frames=5, height=32, width=32)
    config = replace(profile("tiny"), model=model)
    assert latent_shape(config, theirs.transformer, theirs.vae.config) == (4, 2, 4, 4)
    ours = sampling.sample(
        theirs.transformer,
        text,
        negative,
        eps,
        asked,
        velocity(model),
        levels=noise_levels(model, asked),
    )
    set_timesteps, points = theirs.scheduler.set_timesteps, np.linspace(1, 1e-3, 4)
    theirs.scheduler.set_timesteps = lambda steps, device: set_timesteps(sigmas=points)
    given = {"prompt_embeds": text, "negative_prompt_embeds": negative, "latents": eps}
    size = {"height": 32, "width": 32, "num_frames": 5}
    steps = {"num_inference_steps": 4, "guidance_scale": 4.0}
    latents = theirs(**given, **size, **steps, output_type="latent").frames
    torch.testing.assert_close(ours, latents, rtol=1e-5, atol=1e-5)
    pixels = theirs(**given, **size, **steps, output_type="np").frames[0] * 255
    assert np.abs(codec.decode_latents(theirs, ours)[0] - pixels).max() <= 0.51


def test_ti2vs_latents_are_its_autoencoders(ti2v):
    loaded = load_pipeline(ti2v, without=("transformer", "text_encoder"))
    videos = np.random.default_rng(0).integers(0, 256, (1, 5, 32, 32, 3), np.uint8)
    latents = codec.encode_videos(loaded, videos)
    pixels = torch.from_numpy(videos).permute(0, 4, 1, 2, 3) / 127.5 - 1
    mode = loaded.vae.encode(pixels).latent_dist.mode()
    mean, std = (v.view(1, -1, 1, 1, 1) for v in wan.latent_scale(loaded.vae))
    assert latents.shape == (1, 4, 2, 4, 4)
    torch.testing.assert_close(latents, (mode - mean) / std, rtol=1e-4, atol=1e-5)


def test_states_and_pixels_are_the_modules_own(pipeline):
    ids, mask = torch.tensor([[5, 6, 1, 0]]), torch.tensor([[1, 1, 1, 0]])
    states = wan.states(pipeline.text_encoder, ids, mask)
    alone = pipeline.text_encoder(ids[:, :3], mask[:, :3]).last_hidden_state
    torch.testing.assert_close(states[:, :3], alone, rtol=1e-4, atol=1e-5)
    z = torch.randn(1, 4, 2, 4, 4)
    assert torch.equal(wan.decode(pipeline.vae, z), pipeline.vae.decode(z).sample)
