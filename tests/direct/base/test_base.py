"""The making of the miniature: its tokenizer, its unclamped decoder, its training loops."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from direct.base import text, transformer, vae
from direct.world.record import caption, draw


@pytest.fixture(scope="module")
def small_vae():
    return vae.build(0, base_dim=4, dim_mult=[1, 1, 1])


def test_every_caption_fits_and_has_no_unknown_word():
    tokenizer = text.tokenizer()
    rng = np.random.default_rng(0)
    prompts = [caption(draw(rng)) for _ in range(500)]
    ids = transformer.tokenize(tokenizer, prompts, text.LENGTH)
    assert ids.shape == (501, text.LENGTH)
    assert not (ids == tokenizer.unk_token_id).any()
    assert (ids[:-1] != 0).sum(1).max() < text.LENGTH
    assert tokenizer.decode(ids[0], skip_special_tokens=True) == prompts[0]
    assert (ids[-1] != 0).sum() == 1  # the empty prompt is the end token alone


def test_decoding_without_the_clamp_is_decoding(small_vae):
    z = 3 * torch.randn(2, 32, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        small_vae.decoder.conv_out.bias.add_(1.0)
        ours, theirs = vae.decode(small_vae, z), small_vae.decode(z).sample
        small_vae.decoder.conv_out.bias.sub_(1.0)
    assert ours.shape == (2, 3, 9, 16, 16)
    assert torch.equal(ours.clamp(-1, 1), theirs)
    assert ours.abs().max() > 1  # so the clamp would have stopped its gradient


def test_windows_weigh_what_differs_from_the_stage():
    x, weight = next(vae.windows(0, 5, 2))
    assert x.shape == (2, 3, 5, 32, 32) and weight.shape == (2, 1, 5, 32, 32)
    assert x.abs().max() <= 1
    assert set(weight.unique().tolist()) == {1.0, 1 + vae.OBJECT_WEIGHT}
    again, _ = next(vae.windows(0, 5, 2))
    assert torch.equal(x, again)


def test_the_vae_learns_and_leaves_frozen_parts_alone(small_vae, tmp_path: Path):
    small_vae.encoder.requires_grad_(False)
    before = [p.clone() for p in small_vae.encoder.parameters()]
    x, weight = next(itertools.islice(vae.windows(9, 5, 2), 1))
    with torch.no_grad():
        first, _ = vae.reconstruction_loss(small_vae, x, weight)
    vae.train(small_vae, [(5, 2, 12)], 1e-2, 0, tmp_path / "vae")
    with torch.no_grad():
        last, _ = vae.reconstruction_loss(small_vae, x, weight)
    assert last < first
    for old, new in zip(before, small_vae.encoder.parameters(), strict=True):
        assert torch.equal(old, new)
    assert (tmp_path / "vae" / "config.json").exists()


def test_the_transformer_and_its_text_learn_together(tmp_path: Path):
    tokenizer = text.tokenizer()
    tokens = transformer.tokenize(tokenizer, ["a small red ball", "a large blue ball"], 8)
    model, encoder = transformer.build(0), text.encoder(len(tokenizer), 0)
    old = encoder.shared.weight.detach().clone()
    latents = torch.randn(2, 32, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    x, eps, t = latents[:1], torch.zeros(1, 32, 1, 4, 4), torch.tensor([0.5])

    def error():
        with torch.no_grad():
            states = transformer.encode(encoder, tokens[:1])
            v = model(0.5 * x, 1000 * t, states, return_dict=False)[0]
        return (v - (eps - x)).square().mean().item()

    first = error()
    averages = transformer.train(
        model,
        encoder,
        latents,
        tokens,
        steps=40,
        batch=4,
        rate=2e-3,
        shift=2.0,
        seed=0,
        out=tmp_path,
    )
    assert error() < 0.9 * first
    assert not torch.equal(old, encoder.shared.weight)
    assert not any(p.requires_grad for part in averages for p in part.parameters())
    assert (tmp_path / "transformer" / "diffusion_pytorch_model.safetensors").exists()
