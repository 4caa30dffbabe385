"""Wan 2.1: the sizes its classes have, and its velocity against diffusers' own call."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKLWan

from direct.common.errors import UserError
from direct.config import Model
from direct.models import families
from direct.models.families import ltx, wan
from direct.models.pipeline import load_pipeline


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


def test_states_and_pixels_are_the_modules_own(pipeline):
    ids, mask = torch.tensor([[5, 6, 1, 0]]), torch.tensor([[1, 1, 1, 0]])
    states = wan.states(pipeline.text_encoder, ids, mask)
    alone = pipeline.text_encoder(ids[:, :3], mask[:, :3]).last_hidden_state
    torch.testing.assert_close(states[:, :3], alone, rtol=1e-4, atol=1e-5)
    z = torch.randn(1, 4, 2, 4, 4)
    assert torch.equal(wan.decode(pipeline.vae, z), pipeline.vae.decode(z).sample)
