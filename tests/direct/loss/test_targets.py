"""K targets in one call, by every backend that runs here, against float64."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from direct import velocity_loss
from direct.common.errors import UserError
from direct.loss import backends
from direct.loss.checks import MAX_TARGETS
from direct.loss.targets import target_loss

from .oracle import target_case as case
from .oracle import target_oracle as brute_force

RUNNABLE = [name for name in ("eager", "cpp") if backends.missing(name) is None]
each_backend = pytest.mark.parametrize("backend", RUNNABLE)
each_type = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
INF, NAN = float("inf"), float("nan")


def run(v, targets, coefficients, backend, **more):
    v = v.detach().requires_grad_()
    out = target_loss(v, targets, coefficients, **more, backend=backend)
    (gradient,) = torch.autograd.grad(out.loss, v)
    return out.loss.detach(), out.distances, gradient


def compare(found, exact):
    """Half a unit in the last place of the gradient's type, and fp32 rounding of what makes it."""
    (loss, distances, gradient), (exact_loss, exact_distances, exact_gradient) = found, exact
    np.testing.assert_allclose(distances.numpy(), exact_distances, rtol=2e-6, atol=1e-7)
    np.testing.assert_allclose(loss.item(), exact_loss, rtol=2e-6, atol=1e-6)
    rounding, slack = torch.finfo(gradient.dtype).eps / 2, 1e-6 * np.abs(exact_gradient).max()
    ours = gradient.double().numpy().reshape(exact_gradient.shape)
    np.testing.assert_allclose(ours, exact_gradient, rtol=1.01 * rounding, atol=slack)


@each_backend
@each_type
@pytest.mark.parametrize("count", [1, 2, 5, 9, MAX_TARGETS])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5, 7), (1, 129), (2, 16_384 + 131)], ids=str)
def test_against_brute_force(backend, dtype, shape, count):
    arguments = case(shape, count, dtype)
    found = run(*arguments, backend)
    assert found[2].dtype == dtype and found[0].dtype == found[1].dtype == torch.float32
    compare(found, brute_force(*arguments))


@each_backend
@each_type
@pytest.mark.parametrize("threshold", [0.7, 2.0, INF])
@pytest.mark.parametrize("of_terms", [True, False])
def test_weights_and_threshold(backend, dtype, threshold, of_terms):
    v, targets, coefficients = case((3, 4, 99), 5, dtype)
    weight = torch.rand((3, 5) if of_terms else (3,), generator=torch.manual_seed(1)) * 2
    weight[1] = 0
    more = {"weight": weight, "threshold": threshold}
    found = run(v, targets, coefficients, backend, **more)
    compare(found, brute_force(v, targets, coefficients, **more))
    assert not found[2][1].any() and found[1][1].all(), "distances are not weighted"


@each_backend
@pytest.mark.parametrize("position", [0, 31, 128, 16_384, 16_500])
def test_one_element_above_the_threshold_is_left_out_of_its_term_alone(backend, position):
    v = torch.zeros(2, 16_501)
    targets = [torch.full_like(v, 2**-4) for _ in range(3)]
    targets[1][1, position] = 2.0 + 2**-20
    _, distances, gradient = run(v, targets, [1.0, 0.5, 0.25], backend, threshold=2.0)
    assert distances[1, 1] == distances[0, 1] * (16_500 / 16_501)
    assert distances[1, 0] == distances[0, 0] and distances[1, 2] == distances[0, 2]
    assert gradient[1, position] == gradient[0, position] * (1.25 / 1.75)
    targets[1][1, position] = 2.0  # at the threshold: it counts
    assert run(v, targets, [1.0, 0.5, 0.25], backend, threshold=2.0)[1][1, 1] > distances[0, 1]


@each_backend
@each_type
def test_what_is_not_finite_is_masked_where_it_is(backend, dtype):
    v, targets, coefficients = case((2, 300), 3, dtype)
    clean = run(v, targets, coefficients, backend)
    targets[1][0, 5:8] = torch.tensor([NAN, INF, -INF])
    found = run(v, targets, coefficients, backend)
    masked = [u.nan_to_num(1e30, 1e30, 1e30) for u in targets]
    compare(found, brute_force(v, masked, coefficients))
    assert found[1][:, [0, 2]].equal(clean[1][:, [0, 2]]) and found[2][1].equal(clean[2][1])
    v[1, 9] = NAN  # all of its terms are left out
    gradient = run(v, targets, coefficients, backend)[2]
    assert gradient[1, 9] == 0 and gradient.isfinite().all()


@each_backend
def test_no_threshold_lets_infinities_through(backend):
    v, targets, _ = case((1, 40), 2)
    targets[1][0, 3] = INF
    loss, distances, _ = run(v, targets, [1.0, 1.0], backend, threshold=INF)
    assert distances[0, 0].isfinite() and distances[0, 1] == INF and loss == INF


@pytest.mark.skipif(
    os.environ.get("DIRECT_EMULATE_CUDA") == "1", reason="CUDA's chunks are of another size"
)
@each_backend
@each_type
def test_one_target_has_the_bits_of_the_reference_of_velocity_loss(backend, dtype):
    v, (u,), _ = case((3, 4, 4001), 1, dtype)
    v.requires_grad_()
    weight = torch.tensor([1.0, 0.5, 0.0])
    of_anchor = weight[:, None] * torch.tensor([0.0, 0, 0, 1])
    other = velocity_loss(
        v,
        torch.ones_like(v),
        torch.ones_like(v),
        reference=u,
        lambda_anc=0.3,
        weight=of_anchor,
        threshold=2.0,
        backend=backend,
    )
    loss, distances, gradient = run(v, [u], [0.3], backend, weight=weight, threshold=2.0)
    assert loss.equal(other.loss.detach()) and distances[:, 0].equal(other.distances[:, 3])
    assert gradient.equal(torch.autograd.grad(other.loss, v)[0])


@each_backend
@each_type
def test_the_same_bits_on_every_number_of_threads(backend, dtype):
    arguments, before = case((3, 35_001), 4, dtype), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(run(*arguments, backend))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@each_backend
@each_type
def test_inputs_that_are_not_contiguous(backend, dtype):
    v, targets, coefficients = case((3, 4, 6, 10), 4, dtype)
    expected = run(v, targets, coefficients, backend)
    turned = targets[0].transpose(1, 3).contiguous().transpose(1, 3)
    every_second = torch.stack((targets[1], targets[1]), -1)[..., 0]
    rows = torch.zeros(6, *v.shape[1:], dtype=dtype)
    rows[::2] = targets[2]
    shifted = torch.zeros(v.numel() + 1, dtype=dtype)[1:].view(v.shape).copy_(targets[3])
    strange = [turned, every_second, rows[::2], shifted]
    found = run(v.transpose(1, 2).contiguous().transpose(1, 2), strange, coefficients, backend)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@each_backend
def test_one_tensor_for_all_samples(backend):
    v, targets, coefficients = case((3, 50), 2)
    targets[1] = targets[1][:1].expand(3, -1)
    compare(run(v, targets, coefficients, backend), brute_force(v, targets, coefficients))


@each_backend
@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0)], ids=str)
def test_empty_batch_and_empty_samples(backend, shape):
    loss, distances, gradient = run(*case(shape, 3), backend)
    assert loss == 0 and gradient.shape == shape and distances.equal(torch.zeros(shape[0], 3))


@each_backend
def test_large_gradients_written_past_the_caches_are_whole(backend):
    """Above 8 MB the gradient takes another way to memory; sample 2 begins off a cache line."""
    v, targets, _ = case((2, 1_050_001), 2)
    gradient = run(v, targets, [1.0, -0.5], backend)[2]
    expected = ((v - targets[0]) - 0.5 * (v - targets[1])) * (2 / v.numel())
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("threshold", [50.0, 1.5])
def test_gradcheck_in_float64(threshold):
    v, targets, coefficients = case((3, 4, 5), 4, torch.float64)
    weight = torch.rand(3, 4, dtype=torch.float64)

    def loss(v):
        return target_loss(v, targets, coefficients, weight=weight, threshold=threshold).loss

    assert torch.autograd.gradcheck(loss, v.requires_grad_())


@each_backend
def test_the_gradient_is_scaled_accumulated_and_not_made_where_nobody_wants_it(backend):
    v, targets, coefficients = case((2, 33), 3)
    loss, distances, gradient = run(v, targets, coefficients, backend)
    silent = target_loss(v, targets, coefficients, backend=backend)
    assert not silent.loss.requires_grad and silent.distances.equal(distances)
    v.requires_grad_()
    for _ in range(2):
        out = target_loss(v, targets, coefficients, backend=backend)
        (out.loss / 2).backward()
    assert not out.distances.requires_grad and out.loss.detach().equal(loss)
    torch.testing.assert_close(v.grad, gradient)


@pytest.mark.slow
@each_backend
@pytest.mark.parametrize("dynamic", [False, True])
def test_compile_without_a_graph_break(backend, dynamic):
    torch._dynamo.reset()
    v, targets, coefficients = case((2, 3, 50), 3)
    v.requires_grad_()

    def step(v, targets):
        out = target_loss(2 * v, targets, coefficients, backend=backend)
        return out.loss * 1.5, out.distances

    traced = torch.compile(step, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    found, expected = traced(v, targets), step(v, targets)
    torch.testing.assert_close(found, expected)
    (ours,), (theirs,) = (torch.autograd.grad(loss, v) for loss, _ in (found, expected))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.slow
@pytest.mark.skipif("cpp" not in RUNNABLE, reason="built without a compiler")
@pytest.mark.parametrize("need_gradient", [True, False])
def test_opcheck(need_gradient):
    v, targets, coefficients = case((2, 3, 5), 3)
    v.requires_grad_(need_gradient)
    arguments = (v, targets, coefficients, torch.rand(2, 3), 50.0, need_gradient)
    torch.library.opcheck(torch.ops.direct.target_loss.default, arguments)


V = torch.zeros(2, 3, 4)
BAD = [
    ({"targets": []}, "targets holds 0 tensors; give 1 to 64"),
    ({"targets": [V] * 65, "coefficients": [1.0] * 65}, "targets holds 65 tensors; give 1 to 64"),
    ({"targets": V}, "targets is Tensor; give a list"),
    ({"coefficients": 0.1}, "coefficients is float; give a list"),
    ({"coefficients": [1.0]}, "coefficients holds 1 numbers for 2 targets; give one for each"),
    ({"coefficients": [1.0, NAN]}, r"coefficients\[1\] is nan; give a finite number"),
    ({"coefficients": [-INF, 1.0]}, r"coefficients\[0\] is -inf; give a finite number"),
    ({"coefficients": ["1", 1.0]}, r"coefficients\[0\] is str; give a number"),
    ({"targets": [V, None]}, r"targets\[1\] is None; give a tensor shaped like v"),
    ({"targets": [V, 1.0]}, r"targets\[1\] is float; give a tensor shaped like v"),
    ({"targets": [V, V[:, :2]]}, r"targets\[1\] has shape \[2, 2, 4\]; it must be \[2, 3, 4\]"),
    ({"targets": [V.double(), V]}, r"targets\[0\] has dtype torch.float64; it must be"),
    ({"targets": [V, V.to("meta")]}, r"targets\[1\] has device meta; it must be cpu"),
    ({"v": V.half()}, "v has dtype torch.float16; use"),
    ({"v": None}, "v is NoneType; give"),
    ({"weight": torch.ones(2, 4)}, r"weight is torch.float32 \[2, 4\] on cpu; give a float32"),
    ({"weight": torch.ones(2, requires_grad=True)}, "weight requires grad"),
    ({"threshold": 0}, "threshold is 0; use a positive number"),
    ({"threshold": NAN}, "threshold is nan; give a finite number"),
    ({"backend": "egaer"}, "backend is 'egaer'; did you mean eager"),
    ({"backend": "cuda"}, "backend is 'cuda', but v is on cpu; use 'auto'"),
]


@pytest.mark.parametrize("change, message", BAD, ids=[message[:30] for _, message in BAD])
def test_bad_input_is_one_sentence(change, message):
    arguments = {"v": V, "targets": [V, V], "coefficients": [0.1, -0.1]} | change
    with pytest.raises(UserError, match=message):
        target_loss(**arguments)


@pytest.mark.skipif("cpp" not in RUNNABLE, reason="built without a compiler")
def test_the_operator_refuses_what_the_wrapper_would_have_caught():
    operator, rest = torch.ops.direct.target_loss, (None, 50.0, False)
    with pytest.raises(RuntimeError, match="give 1 to 64 targets with a coefficient each"):
        operator(V, [], [], *rest)
    with pytest.raises(RuntimeError, match="give 1 to 64 targets with a coefficient each"):
        operator(V, [V], [1.0, 2.0], *rest)
    with pytest.raises(RuntimeError, match="target 2 differs from v in shape or type"):
        operator(V, [V, V[:1]], [1.0, 2.0], *rest)
