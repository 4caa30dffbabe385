"""The formula of Eq. 6 itself: against the NumPy oracle, by hand, and in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from direct import noise
from direct.loss.reference import CHUNK, Inputs, evaluate

from .oracle import case, oracle


def inputs(positional, named, **more) -> Inputs:
    values = {
        "x_rand": named.get("rand_latents"),
        "eps_rand": named.get("rand_noise"),
        "x_hard": named.get("hard_latents"),
        "eps_hard": named.get("hard_noise"),
        "v_ref": named.get("reference"),
        "key": None,
        "weight": None,
        **{name: named[name] for name in ("lambda_rand", "lambda_hard", "lambda_anc")},
        "threshold": 50.0,
        "alpha_dot": -1.0,
        "sigma_dot": 1.0,
        "marginal": False,
        "need_gradient": True,
    }
    return Inputs(*positional, **values | more)


def test_two_elements_by_hand():
    """v = (1, 2), u = eps - x = (0, 4): e = (1, -2), d = 5/2, gradient (2/2) e."""
    v, x, eps = (torch.tensor([values]) for values in ([1.0, 2.0], [1.0, 0.0], [1.0, 4.0]))
    named = {"lambda_rand": 0.0, "lambda_hard": 0.0, "lambda_anc": 0.5, "reference": v + 3}
    loss, distances, alignment, nonfinite, gradient = evaluate(inputs((v, x, eps), named))
    assert distances[0, [0, 3]].tolist() == [2.5, 9.0] and distances[0, 1:3].isnan().all()
    assert alignment.isnan().all() and loss.item() == 2.5 + 0.5 * 9
    assert nonfinite.tolist() == [0]
    assert gradient.tolist() == [[1 - 0.5 * 3, -2 - 0.5 * 3]]
    masked = evaluate(inputs((v, x, eps), named, threshold=2.5))
    assert masked[1][0, [0, 3]].tolist() == [2.5, 0.0], "what is masked counts nothing"
    assert evaluate(inputs((v, x, eps), named, need_gradient=False))[4].shape == (0,)


@pytest.mark.parametrize(
    "terms", [(), ("rand",), ("hard", "anc"), ("rand", "hard", "anc")], ids=str
)
@pytest.mark.parametrize("weight_shape", [None, (3,), (3, 4)], ids=str)
def test_float64_is_the_oracle(terms, weight_shape):
    positional, named = case((3, 4, 17), torch.float64, terms=terms)
    weight = None if weight_shape is None else torch.rand(weight_shape, dtype=torch.float64)
    more = {"threshold": 1.5, "alpha_dot": -0.7, "sigma_dot": 1.3}
    found = evaluate(inputs(positional, named, weight=weight, **more))
    exact = oracle(*positional, **named, weight=weight, **more)
    for ours, theirs in zip((*found[:3], found[4]), exact, strict=True):
        np.testing.assert_allclose(ours.numpy().reshape(np.shape(theirs)), theirs, 1e-12, 1e-14)


def test_noise_that_is_not_given_is_that_of_the_key_by_term():
    positional, named = case((2, 40), given=False)
    key = noise.keys(0, 3, range(2))
    drawn = {
        "eps_rand": noise.normal(key, (2, 40), term=noise.RAND),
        "eps_hard": noise.normal(key, (2, 40), term=noise.HARD),
    }
    v, x, _ = positional
    inside = evaluate(inputs((v, x, None), named, key=key))
    outside = evaluate(inputs((v, x, noise.normal(key, (2, 40))), named, **drawn))
    assert all(torch.equal(a, b) for a, b in zip(inside, outside, strict=True))


def test_the_mean_over_noise_carries_its_variance():
    """E (v - u)^2 = (v + x)^2 + sigma^2 for u = -x + sigma eps."""
    positional, named = case((2, 30), torch.float64, terms=("rand",), given=False)
    v, x_rand = positional[0], named["rand_latents"]
    found = evaluate(inputs(positional, named, marginal=True, sigma_dot=1.3))
    expected = (v + x_rand).square().mean(1) + 1.3**2
    torch.testing.assert_close(found[1][:, 1], expected)


def test_a_sample_does_not_depend_on_its_batch_nor_on_where_a_chunk_ends():
    positional, named = case((3, CHUNK + 5), given=True)
    whole = evaluate(inputs(positional, named))
    one = {k: t[1:2] if isinstance(t, torch.Tensor) else t for k, t in named.items()}
    alone = evaluate(inputs([t[1:2] for t in positional], one))
    assert torch.equal(alone[1], whole[1][1:2]) and torch.equal(alone[2], whole[2][1:2])
