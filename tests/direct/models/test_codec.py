"""Encoding and decoding equal the pipeline's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from direct.common.errors import UserError
from direct.models import codec

PROMPTS = ["a red ball falls", "", "a  small box   slides &amp;amp; rolls to the left "]


def test_embeddings_are_the_pipelines_own(pipeline):
    embeddings, lengths = codec.encode_prompts(pipeline, PROMPTS, 16)
    theirs = pipeline._get_t5_prompt_embeds(PROMPTS, max_sequence_length=16)
    torch.testing.assert_close(embeddings, theirs, rtol=1e-5, atol=1e-6)
    assert lengths.tolist()[:2] == [5, 1]  # four words, and the end token that is all of ""
    for row, length in zip(embeddings, lengths, strict=True):
        assert (row[length:] == 0).all() and (row[:length].abs().sum(-1) > 0).all()


def test_embedding_does_not_depend_on_the_other_prompts(pipeline):
    alone, _ = codec.encode_prompts(pipeline, PROMPTS[:1], 16)
    among, _ = codec.encode_prompts(pipeline, [*PROMPTS * 13, PROMPTS[0]], 16)
    assert torch.equal(among[-1], alone[0])


def test_prompt_beyond_the_encoder_is_refused_not_cut(pipeline):
    words = " ".join(["ball"] * 7)
    assert codec.encode_prompts(pipeline, [words], 8)[1].tolist() == [8]
    with pytest.raises(UserError, match=r"has 9 tokens, more than model.text_length=8"):
        codec.encode_prompts(pipeline, [words + " falls"], 8)
    with pytest.raises(UserError, match="at least one"):
        codec.encode_prompts(pipeline, [], 8)


def test_latents_are_the_normalised_mode_and_come_back(pipeline):
    videos = np.random.default_rng(0).integers(0, 256, (9, 5, 16, 16, 3), np.uint8)
    latents = codec.encode_videos(pipeline, videos)
    assert latents.shape == (9, 4, 2, 4, 4) and latents.dtype == torch.float32
    pixels = torch.from_numpy(videos[8:]).permute(0, 4, 1, 2, 3) / 255 * 2 - 1
    mode = pipeline.vae.encode(pixels).latent_dist.mode()
    config = pipeline.vae.config
    mean, std = (
        torch.tensor(values).view(1, -1, 1, 1, 1)
        for values in (config.latents_mean, config.latents_std)
    )
    torch.testing.assert_close(latents[8:], (mode - mean) / std, rtol=1e-4, atol=1e-5)
    decoded = codec.decode_latents(pipeline, latents)
    theirs = pipeline.vae.decode(latents[8:] * std + mean).sample
    expected = ((theirs + 1) / 2 * 255).permute(0, 2, 3, 4, 1).numpy()
    assert decoded.dtype == np.uint8 and decoded.shape == videos.shape
    assert np.abs(decoded[8:] - expected).max() <= 0.51


def test_batches_have_one_shape_and_cover_everything():
    assert [(c.tolist(), n) for c, n in codec.batches(5, 3)] == [([0, 1, 2], 3), ([3, 4, 4], 2)]
    assert list(codec.batches(0, 3)) == []


@pytest.mark.parametrize(
    ("pixels", "clips"), [(1, 8), (81 * 480 * 832, 1), (17 * 32 * 32, 8), (2**25 // 3, 3)]
)
def test_a_pass_of_the_vae_holds_at_most_so_many_pixels(pixels, clips):
    assert codec._video_batch(pixels) == clips


def test_cleaning_is_the_pipelines_own():
    assert codec.clean("  a &amp;amp; b \n c  ") == "a & b c"
