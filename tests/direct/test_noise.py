"""Noise against Random123's published vectors, NumPy's own Philox arithmetic and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from direct import noise
from direct.common.errors import UserError

# Random123's kat_vectors, philox4x32 10: counter, key, result.
KNOWN_ANSWERS = [
    ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


def words_of(key, blocks, term=0):
    """Philox by Python's own unbounded integers: int64 [blocks, 4]."""
    rows = []
    for block in range(blocks):
        offset = (int(key[1]) + block) % 2**64
        c = [offset % 2**32, offset >> 32, term, 0]
        k = [int(key[0]) % 2**32, int(key[0]) % 2**64 >> 32]
        for _ in range(10):
            p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
            c = [(p1 >> 32) ^ c[1] ^ k[0], p1 % 2**32, (p0 >> 32) ^ c[3] ^ k[1], p0 % 2**32]
            k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
        rows.append(c)
    return np.array(rows)


def box_muller_float64(words):
    u = (words[:, ::2] + 0.5) / 2**32
    radius, angle = np.sqrt(-2 * np.log(u)), 2 * np.pi * words[:, 1::2] / 2**32
    return np.stack((radius * np.cos(angle), radius * np.sin(angle)), -1).reshape(-1)


@pytest.mark.parametrize("counter, key, expected", KNOWN_ANSWERS)
def test_philox_gives_the_published_words(counter, key, expected):
    words = noise.philox([torch.tensor([c]) for c in counter], [torch.tensor([k]) for k in key])
    assert [word.item() for word in words] == expected


@pytest.mark.parametrize("term", [noise.EPS, noise.RAND, noise.HARD])
def test_normal_is_box_muller_of_the_words(term):
    key = torch.tensor([[-5, -3], [2**62 + 7, 2**40]])  # a negative offset wraps past 2^64
    drawn = noise.normal(key, [2, 3, 7], term=term).flatten(1)  # 21 elements: a ragged last block
    for row, sample in zip(key, drawn, strict=True):
        exact = box_muller_float64(words_of(row.numpy(), 6, term))[:21]
        np.testing.assert_allclose(sample.double(), exact, rtol=4e-7, atol=2e-6)


def test_the_radius_at_the_ends_of_the_range():
    ends = torch.tensor([0, 1, 2**31, 2**32 - 2, 2**32 - 1])
    exact = -2 * np.log((ends.double().numpy() + 0.5) / 2**32)
    ours = noise._minus_2_log(ends)
    np.testing.assert_allclose(ours.double()[:3], exact[:3], rtol=2e-7)
    assert (ours > 1e-7).all() and ours[-1] == ours[-2] < 2e-7  # u stays below 1
    assert ours[0].sqrt() < 6.77


def test_moments_and_distribution():
    values = noise.normal(noise.keys(1, 2, range(4)), [4, 50_000]).flatten().numpy()
    assert abs(values.mean()) < 4 / math.sqrt(values.size)
    assert abs(values.var() - 1) < 4 * math.sqrt(2 / values.size)
    assert stats.kstest(values, "norm").pvalue > 1e-3


def test_terms_samples_and_streams_are_independent():
    size = 20_000
    key = noise.keys(0, 0, [0])
    others = [noise.keys(0, 0, [1]), noise.keys(0, 1, [0]), noise.keys(1, 0, [0])]
    others.append(noise.keys(0, 0, [0], stream=1))
    base = noise.normal(key, [1, size])
    draws = [noise.normal(other, [1, size]) for other in others]
    draws += [noise.normal(key, [1, size], term=term) for term in (noise.RAND, noise.HARD)]
    for other in draws:
        assert abs((base * other).mean()) < 4 / math.sqrt(size)


def test_a_sample_is_the_same_alone_and_in_a_batch():
    together = noise.normal(noise.keys(3, 4, [5, 6, 7]), [3, 33])
    alone = noise.normal(noise.keys(3, 4, [6]), [1, 33])
    assert torch.equal(together[1:2], alone)
    longer = noise.normal(noise.keys(3, 4, [6]), [1, 100])  # the counter runs over elements
    assert torch.equal(longer[:, :33], alone)


def test_keys_are_distinct_and_take_64_bits():
    made = torch.cat(
        [noise.keys(seed, step, range(100)) for seed in (0, 2**62) for step in (0, 2**33)]
    )
    assert made.dtype == torch.int64 and made.shape == (400, 2)
    assert len({tuple(row) for row in made.tolist()}) == 400
    with pytest.raises(UserError, match="stream"):
        noise.keys(0, 0, [0], stream=-1)


def test_fma_rounds_once():
    """Against exact rational arithmetic, at sums that lie on the edge between two floats."""
    from fractions import Fraction

    generator = np.random.default_rng(0)
    a = generator.normal(size=2000).astype(np.float32)
    b = generator.normal(size=2000).astype(np.float32)
    c = (generator.normal(size=2000) * 2.0 ** generator.integers(-30, 30, 2000)).astype(np.float32)
    # 1 + 2^-24 is half way between two floats; the product's last bit alone decides.
    a = np.append(a, np.float32([1 + 2**-12, 1 - 2**-12, -(2**-12)])).astype(np.float32)
    b = np.append(b, np.float32([2**-24, 2**-24, 2**-48])).astype(np.float32)
    c = np.append(c, np.float32([1, 1, 1 + 2**-23])).astype(np.float32)
    ours = noise._fma(torch.from_numpy(a), torch.from_numpy(b), torch.from_numpy(c)).numpy()
    for x, y, z, got in zip(a, b, c, ours, strict=True):
        exact = Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))
        error = abs(Fraction(float(got)) - exact)
        for neighbour in (
            np.nextafter(got, np.float32(-np.inf)),
            np.nextafter(got, np.float32(np.inf)),
        ):
            assert error <= abs(Fraction(float(neighbour)) - exact)
    assert ours[-3] == np.float32(1 + 2**-23) and ours[-2] == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_interpolate_is_the_straight_path(dtype):
    latents = torch.randn(3, 4, 5, dtype=dtype)
    key, t = noise.keys(0, 0, range(3)), torch.tensor([0.0, 0.3, 1.0])
    eps = noise.normal(key, latents.shape)
    expected = (1 - t.double()[:, None, None]) * latents.double() + t.double()[
        :, None, None
    ] * eps.double()
    path = noise.interpolate(latents, key, t)
    assert path.dtype == dtype and torch.equal(path[0], latents[0])
    torch.testing.assert_close(path.double(), expected, rtol=torch.finfo(dtype).eps, atol=1e-6)


def test_empty_and_bad_input():
    assert noise.normal(torch.zeros(0, 2, dtype=torch.int64), [0, 5]).shape == (0, 5)
    assert noise.normal(noise.keys(0, 0, [0]), [1, 0]).shape == (1, 0)
    with pytest.raises(UserError, match=r"give int64 \[3, 2\]"):
        noise.normal(torch.zeros(2, 2, dtype=torch.int64), [3, 4])
    with pytest.raises(UserError, match="one per sample"):
        noise.interpolate(torch.zeros(2, 3), noise.keys(0, 0, [0, 1]), torch.zeros(3))


def test_draws_are_pure_and_do_not_depend_on_the_count():
    a = noise.uniform(3, 7, "rand", 8)
    assert np.array_equal(noise.uniform(3, 7, "rand", 3), a[:3])
    for other in ((4, 7, "rand"), (3, 8, "rand"), (3, 7, "hard")):
        assert not np.intersect1d(noise.uniform(*other, 8), a).size


def test_indices_visit_every_sample_once_per_epoch():
    size, batch = 10, 4
    seen = np.concatenate([noise.indices(0, step, batch, size) for step in range(10)])
    for epoch in seen.reshape(4, size):
        assert sorted(epoch) == list(range(size))
    assert not np.array_equal(seen[:size], seen[size : 2 * size])
    assert not np.array_equal(seen[:batch], noise.indices(1, 0, batch, size))
    assert len(noise.indices(0, 0, 25, size)) == 25  # a batch above the data set
