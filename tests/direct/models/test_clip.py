"""One clip in two halves: by the sampler as it is, with a gain's reference, decoded by the VAE."""

import numpy as np
import pytest
import torch

from direct.models import clip, codec, pipeline
from direct.sampling import EVALUATION, initial_noise, sample


@pytest.mark.slow
def test_the_two_halves_are_sampler_and_decoder(small):
    config = small(sample__gain=0.5, sample__gain_about="zero")
    model = config.model
    transformer = pipeline.load_transformer(model.pipeline)
    dim = transformer.config.text_dim
    text = torch.randn(2, model.text_length, dim, generator=torch.Generator().manual_seed(0))
    shape = pipeline.latent_shape(config, transformer, pipeline.vae_config(model))
    x_ref = torch.ones(1, *shape)

    own = clip.latents(config, transformer, text, "p1", 3, x_ref)
    eps, v = initial_noise(3, ["p1"], shape, EVALUATION), pipeline.velocity(model)
    settings = config.sample
    assert torch.equal(own, sample(transformer, text[:1], text[1:], eps, settings, v, x_ref))
    assert not torch.equal(own, clip.latents(config, transformer, text, "p2", 3, x_ref))
    assert not torch.equal(own, clip.latents(config, transformer, text, "p1", 3))

    video = clip.decoded(model, own)
    vae = pipeline.load_pipeline(model.pipeline, without=("transformer", "text_encoder"))
    assert np.array_equal(video, codec.decode_latents(vae, own)[0])
    assert video.shape == (5, 16, 16, 3) and video.dtype == np.uint8
