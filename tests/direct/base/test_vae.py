"""The miniature's VAE: its decoder without the clamp, its windows and its training."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

from direct.base import vae


@pytest.fixture(scope="module")
def small_vae():
    return vae.build(0, base_dim=4, dim_mult=[1, 1, 1])


def test_decoding_without_the_clamp_is_decoding(small_vae):
    z = 3 * torch.randn(2, 32, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        small_vae.decoder.conv_out.bias.add_(1.0)
        ours, theirs = vae.decode(small_vae, z), small_vae.decode(z).sample
        small_vae.decoder.conv_out.bias.sub_(1.0)
    assert ours.shape == (2, 3, 9, 16, 16)
    assert torch.equal(ours.clamp(-1, 1), theirs)
    assert ours.abs().max() > 1  # so the clamp would have stopped its gradient


@pytest.mark.slow
def test_windows_weigh_what_differs_from_the_stage():
    x, weight = next(vae.windows(0, 5, 2))
    assert x.shape == (2, 3, 5, 32, 32) and weight.shape == (2, 1, 5, 32, 32)
    assert x.abs().max() <= 1
    assert set(weight.unique().tolist()) == {1.0, 1 + vae.OBJECT_WEIGHT}
    again, _ = next(vae.windows(0, 5, 2))
    assert torch.equal(x, again)


@pytest.mark.slow
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
