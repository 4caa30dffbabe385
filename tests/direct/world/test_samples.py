"""Clips that a model renders for the world's prompts, with the small pipeline in its place."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from direct import sampling
from direct.models import codec
from direct.models.families import wan
from direct.models.pipeline import load_pipeline
from direct.world import samples
from direct.world.corpus import Clip
from direct.world.record import Record


@pytest.fixture
def clips(monkeypatch):
    """Their captions are of the small vocabulary."""
    captions = {name: f"a {name} ball falls" for name in ("red", "blue", "green")}
    monkeypatch.setattr(Clip, "caption", property(lambda clip: captions[clip.record.color]))
    return [
        Clip(name, Record("glide", name, "white", "small", "slowly", "left")) for name in captions
    ]


@pytest.fixture(scope="module")
def pipeline(pipeline_folder):
    return load_pipeline(str(pipeline_folder))


def test_a_clip_is_what_sampling_gives_for_its_caption_and_id(small, pipeline, clips, monkeypatch):
    config = small()
    made = samples.sampler(pipeline.transformer, pipeline, config)(clips)
    text, _ = codec.encode_prompts(pipeline, [clip.caption for clip in clips], 12)
    negative, _ = codec.encode_prompts(pipeline, [""], 12)
    eps = sampling.initial_noise(0, [clip.id for clip in clips], (4, 2, 4, 4), sampling.EVALUATION)
    latents = sampling.sample(
        pipeline.transformer, text, negative, eps, config.sample, wan.velocity(None, None)
    )
    assert np.array_equal(made, codec.decode_latents(pipeline, latents))
    assert made.shape == (3, 5, 16, 16, 3) and made.dtype == np.uint8
    monkeypatch.setattr(samples, "BATCH", 2)
    again = samples.sampler(pipeline.transformer, pipeline, config)(clips)
    assert np.abs(again.astype(int) - made).max() <= 1


def test_an_untrained_model_has_the_same_shape_and_other_weights(pipeline):
    one, two = samples.untrained(pipeline), samples.untrained(pipeline)
    theirs = dict(pipeline.transformer.named_parameters())
    assert {n: p.shape for n, p in one.named_parameters()} == {
        n: p.shape for n, p in theirs.items()
    }
    assert all(torch.equal(p, dict(two.named_parameters())[n]) for n, p in one.named_parameters())
    assert not one.training
    matrices = [name for name, p in theirs.items() if p.ndim > 1 and p.std() > 0]
    assert not any(torch.equal(dict(one.named_parameters())[n], theirs[n]) for n in matrices[:4])


def test_reconstruction_is_encoding_and_decoding_in_parts(pipeline, monkeypatch):
    videos = np.random.default_rng(0).integers(0, 256, (3, 5, 16, 16, 3), np.uint8)
    expected = codec.decode_latents(pipeline, codec.encode_videos(pipeline, videos))
    assert np.array_equal(samples.reconstruct(pipeline, videos), expected)
    monkeypatch.setattr(samples, "BATCH", 2)
    assert np.abs(samples.reconstruct(pipeline, videos).astype(int) - expected).max() <= 1
