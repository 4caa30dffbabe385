"""The Triton backend, in its interpreter where there is no GPU, against the oracle."""

import numpy as np
import pytest
import torch

triton = pytest.importorskip("triton")

from direct import velocity_loss  # noqa: E402
from direct.loss.triton import current  # noqa: E402

from .oracle import case, oracle  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def run(positional, named, backend="triton", **more):
    v, x, eps = (None if t is None else t.to(DEVICE) for t in positional)
    named = {
        k: t.to(DEVICE) if isinstance(t, torch.Tensor) else t for k, t in (named | more).items()
    }
    v = v.detach().requires_grad_()
    out = velocity_loss(v, x, eps, **named, backend=backend)
    out.loss.backward()
    return [tensor.detach().cpu() for tensor in (*out, v.grad)]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 4, 3, 6, 8), (3, 8193), (1, 1)], ids=str)
def test_all_terms(dtype, shape):
    positional, named = case(shape, dtype)
    weight = torch.rand(shape[0], 4)
    loss, distances, alignment, _, gradient = run(positional, named, weight=weight, threshold=3.0)
    exact = oracle(*positional, **named, weight=weight, threshold=3.0)
    np.testing.assert_allclose(loss, exact[0], rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(distances, exact[1], rtol=2e-6)
    np.testing.assert_allclose(alignment, exact[2], rtol=2e-6, atol=3e-6)
    rounding = 1.01 * torch.finfo(dtype).eps / 2
    slack = 1e-6 * np.abs(exact[3]).max()
    np.testing.assert_allclose(gradient.double().reshape(exact[3].shape), exact[3], rounding, slack)


@pytest.mark.parametrize("terms", [(), ("rand",), ("hard", "anc")], ids=str)
def test_subsets_marginal_noise_and_nan_for_what_is_absent(terms):
    positional, named = case((2, 50), terms=terms, given=False)
    weight = torch.tensor([0.5, 1.5])
    *results, _, gradient = run(positional, named, negative_noise="marginal", weight=weight)
    exact = oracle(*positional, **named, weight=weight)
    for ours, theirs in zip((*results, gradient), exact, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_empty_input():
    for shape in ((0, 3), (2, 0)):
        positional, named = case(shape)
        loss, distances, *_, gradient = run(positional, named)
        assert loss == 0 and distances.shape == (shape[0], 4) and gradient.shape == shape


def test_launches_are_on_the_tensors_own_device():
    assert current(torch.device("cuda", 1)).idx == 1
    with current(torch.device("cpu")):
        pass
