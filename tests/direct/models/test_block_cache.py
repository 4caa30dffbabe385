"""Features kept between steps, on the packaged pipeline's own transformer."""

from __future__ import annotations

import pytest
import torch

from direct.models.block_cache import first_block_cache
from direct.models.families import wan
from direct.models.pipeline import load_transformer


@pytest.fixture(scope="module")
def inputs():
    transformer = load_transformer("tiny")
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(1, 32, 2, 4, 4, generator=rng)
    text = torch.randn(1, 4, 64, generator=rng)
    return transformer, x, text


def velocities(inputs, levels):
    transformer, x, text = inputs
    velocity = wan.velocity(None, None)
    with torch.no_grad():
        return [velocity(transformer, x, torch.tensor([t]), text) for t in levels]


def test_what_no_block_spares_is_the_transformers_own(inputs):
    levels = (0.9, 0.6, 0.3)
    expected = velocities(inputs, levels)
    with first_block_cache(inputs[0], 0.0) as passes:
        found = velocities(inputs, levels)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert (passes.all, passes.whole, passes.share) == (3, 3, 1.0)


def test_a_repeated_input_computes_the_first_block_alone(inputs):
    levels = (0.9, 0.9, 0.9, 0.2)
    expected = velocities(inputs, levels)
    with first_block_cache(inputs[0], 1e-6) as passes:
        found = velocities(inputs, levels)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert (passes.all, passes.whole) == (4, 2)
    assert passes.share == (2 + 2 / 4) / 4, "two whole passes, two of one block in four"


def test_clips_share_nothing_and_the_transformer_is_left_as_it_was(inputs):
    """At a threshold that nothing exceeds, a cache that outlived a clip would be seen."""
    before = velocities(inputs, (0.5,))[0]
    for level in (0.9, 0.4):
        expected = velocities(inputs, (level,))[0]
        with first_block_cache(inputs[0], 1.0) as passes:
            assert torch.equal(velocities(inputs, (level,))[0], expected)
        assert passes.share == 1.0
    assert torch.equal(velocities(inputs, (0.5,))[0], before)
    assert not inputs[0].is_cache_enabled
