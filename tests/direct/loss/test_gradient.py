"""The loss's derivative: gradcheck, retained graphs, accumulation, torch.compile."""

from __future__ import annotations

import copy

import pytest
import torch

import direct
from direct import velocity_loss
from direct.loss import backends
from direct.loss.gradient import WithGradient, scaled
from direct.loss.reference import Inputs, evaluate

from .oracle import case, oracle

RUNNABLE = [name for name in ("eager", "cpp") if backends.missing(name) is None]
each_backend = pytest.mark.parametrize("backend", RUNNABLE)


@pytest.mark.parametrize("threshold", [50.0, 1.5])
def test_gradcheck_in_float64(threshold):
    (v, x, eps), named = case((3, 4, 5), torch.float64)
    weight = torch.rand(3, 4, dtype=torch.float64)

    def loss(v):
        return velocity_loss(v, x, eps, **named, weight=weight, threshold=threshold).loss

    assert torch.autograd.gradcheck(loss, v.requires_grad_())


def test_plain_autograd_agrees():
    """The formula differentiated by autograd, where nothing is masked."""
    (v, x, eps), named = case((2, 3, 7), torch.float64)
    v.requires_grad_()
    u = {t: named[f"{t}_noise"] - named[f"{t}_latents"] for t in ("rand", "hard")}
    squares = [
        (1.0, eps - x),
        (-named["lambda_rand"], u["rand"]),
        (-named["lambda_hard"], u["hard"]),
        (named["lambda_anc"], named["reference"]),
    ]
    plain = sum(c * (v - target).square().mean() for c, target in squares)
    (expected,) = torch.autograd.grad(plain, v)
    out = velocity_loss(v, x, eps, **named)
    (ours,) = torch.autograd.grad(out.loss, v)
    torch.testing.assert_close(out.loss, plain)
    torch.testing.assert_close(ours, expected)


@each_backend
def test_factors_retained_graphs_and_accumulation(backend):
    (v, x, eps), named = case((2, 33))
    exact = torch.from_numpy(oracle(v, x, eps, **named)[3]).float()
    v.requires_grad_()
    loss = velocity_loss(v, x, eps, **named, backend=backend).loss
    first = torch.autograd.grad(loss, v, retain_graph=True)[0]
    tripled = torch.autograd.grad(3 * loss, v, retain_graph=True)[0]
    zero = torch.autograd.grad(0 * loss, v, retain_graph=True)[0]
    first *= 7  # what a caller does to a gradient must not reach the next pass
    again = torch.autograd.grad(loss, v)[0]
    torch.testing.assert_close(again, exact, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(tripled, 3 * exact, rtol=1e-5, atol=1e-7)
    assert not zero.any()
    for _ in range(2):  # gradient accumulation over two micro-batches, each halved
        (velocity_loss(v, x, eps, **named, backend=backend).loss / 2).backward()
    torch.testing.assert_close(v.grad, exact, rtol=1e-5, atol=1e-7)


@each_backend
def test_no_gradient_is_kept_where_none_is_wanted(backend):
    (v, x, eps), named = case((2, 33), torch.bfloat16)
    with_gradient = velocity_loss(v.clone().requires_grad_(), x, eps, **named, backend=backend)
    plain = velocity_loss(v, x, eps, **named, backend=backend)
    with torch.no_grad():
        silent = velocity_loss(v.clone().requires_grad_(), x, eps, **named, backend=backend)
    assert with_gradient.loss.requires_grad and not with_gradient.distances.requires_grad
    assert not plain.loss.requires_grad and not silent.loss.requires_grad
    assert torch.equal(plain.loss, with_gradient.loss) and torch.equal(silent.loss, plain.loss)


@each_backend
def test_distances_take_no_gradient(backend):
    (v, x, eps), named = case((2, 33))
    out = velocity_loss(v.requires_grad_(), x, eps, **named, backend=backend)
    with pytest.raises(RuntimeError, match="does not require grad"):
        out.distances.sum().backward()


@each_backend
def test_the_model_behind_v_is_trained(backend):
    """Under autocast, through a layer: the step equals that of the formula in plain torch."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(8, 8)
    plain_layer = copy.deepcopy(layer)
    (_, x, eps), named = case((4, 8), torch.bfloat16, terms=("fm",))
    with torch.autocast("cpu", torch.bfloat16):
        velocity_loss(layer(x), x, eps, **named, backend=backend).loss.backward()
        plain = (plain_layer(x).float() - (eps.float() - x.float())).square().mean()
    plain.backward()
    torch.testing.assert_close(layer.weight.grad, plain_layer.weight.grad, rtol=2e-2, atol=2e-3)


@pytest.mark.slow
@each_backend
@pytest.mark.parametrize("dynamic", [False, True])
def test_compile_without_a_graph_break(backend, dynamic):
    torch._dynamo.reset()
    (v, x, eps), named = case((2, 3, 50))
    v.requires_grad_()

    def step(v, x, eps):
        out = direct.velocity_loss(2 * v, x, eps, **named, backend=backend)
        return out.loss * 1.5, out.distances

    # "aot_eager" traces forward and backward like Inductor, without its C++ compilation.
    traced = torch.compile(step, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    loss, distances = traced(v, x, eps)
    expected_loss, expected_distances = step(v, x, eps)
    torch.testing.assert_close(loss, expected_loss)
    torch.testing.assert_close(distances, expected_distances)
    (gradient,) = torch.autograd.grad(loss, v)
    (expected,) = torch.autograd.grad(expected_loss, v)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("factor", [1.0, 0.5, -3.0, 0.0])
def test_scaling_is_multiplication_in_the_gradients_own_type(dtype, factor):
    gradient = torch.linspace(-2, 2, 9, dtype=dtype)
    found = scaled(gradient, torch.tensor(factor))
    assert found.dtype == dtype and torch.equal(found, (gradient.double() * factor).to(dtype))


def test_a_gradient_nobody_wants_is_not_asked_of_the_backend():
    asked = []

    def backend(inputs):
        asked.append(inputs.need_gradient)
        return (*evaluate(inputs),)

    (v, x, eps), _ = case((2, 5), terms=())
    rest = (x, eps, *[None] * 7, 0.0, 0.0, 0.0, 50.0, -1.0, 1.0, False)
    WithGradient.apply(backend, Inputs, v, *rest)
    WithGradient.apply(backend, Inputs, v.clone().requires_grad_(), *rest)
    assert asked == [False, True]
