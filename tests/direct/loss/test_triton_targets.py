"""K targets in Triton: in its interpreter against float64, and compiled for an H100."""

import re

import numpy as np
import pytest
import torch

triton = pytest.importorskip("triton")

from direct.loss.targets import target_loss  # noqa: E402

from .oracle import target_case, target_oracle  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
each_type = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)


def run(v, targets, coefficients, **more):
    v = v.to(DEVICE).requires_grad_()
    more = {k: x.to(DEVICE) if isinstance(x, torch.Tensor) else x for k, x in more.items()}
    there = [u.to(DEVICE) for u in targets]
    out = target_loss(v, there, coefficients, **more, backend="triton")
    (gradient,) = torch.autograd.grad(out.loss, v)
    return [tensor.detach().cpu() for tensor in (*out, gradient)]


def compare(found, exact):
    (loss, distances, gradient), (exact_loss, exact_distances, exact_gradient) = found, exact
    np.testing.assert_allclose(loss, exact_loss, rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(distances, exact_distances, rtol=2e-6, atol=1e-7)
    rounding, slack = torch.finfo(gradient.dtype).eps / 2, 1e-6 * np.abs(exact_gradient).max()
    ours = gradient.double().reshape(exact_gradient.shape)
    np.testing.assert_allclose(ours, exact_gradient, rtol=1.01 * rounding, atol=slack)


@each_type
@pytest.mark.parametrize("count", [1, 2, 5, 9])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5, 7), (2, 4096 + 32)], ids=str)
def test_against_brute_force(dtype, shape, count):
    arguments = target_case(shape, count, dtype)
    weight = torch.rand(shape[0], count, generator=torch.manual_seed(1))
    for more in ({}, {"weight": weight, "threshold": 1.5}):
        compare(run(*arguments, **more), target_oracle(*arguments, **more))


@each_type
def test_weights_of_samples_strides_and_what_is_not_finite(dtype):
    v, targets, coefficients = target_case((3, 4, 33), 3, dtype)
    weight = torch.tensor([1.0, 0.0, 2.0])
    targets[1][0, 1, :3] = torch.tensor([torch.nan, torch.inf, -torch.inf])
    masked = [u.nan_to_num(1e30, 1e30, 1e30) for u in targets]
    targets[2] = targets[2].transpose(1, 2).contiguous().transpose(1, 2)
    found = run(v, targets, coefficients, weight=weight)
    compare(found, target_oracle(v, masked, coefficients, weight))
    assert not found[2][1].any()


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0)], ids=str)
def test_empty_batch_and_empty_samples(shape):
    loss, distances, gradient = run(*target_case(shape, 3))
    assert loss == 0 and gradient.shape == shape and distances.equal(torch.zeros(shape[0], 3))


def test_no_gradient_where_nobody_wants_one():
    v, targets, coefficients = target_case((2, 33), 2)
    loss, distances, _ = run(v, targets, coefficients)
    there = [u.to(DEVICE) for u in targets]
    out = target_loss(v.detach().to(DEVICE), there, coefficients, backend="triton")
    assert not out.loss.requires_grad
    assert out.loss.cpu().equal(loss) and out.distances.cpu().equal(distances)


COMPILE = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from direct.loss import triton_targets as ours

names = ours._target_kernel.arg_names
types = dict(u_ptrs=("*bf16",) * 4, n="i32", chunks="i32", threshold="fp32")
types |= dict(scale_ptr="*fp32", partials_ptr="*fp32")
values = dict(COUNT=4, GRADIENT=True, ALIGNED=True, BLOCK=ours.BLOCK)
signature = {n: types.get(n, "*bf16" if n.endswith("_ptr") else "constexpr") for n in names}
places = [(i,) for i, n in enumerate(names) if n.endswith("_ptr")]
places += [(names.index("u_ptrs"), k) for k in range(4)]
aligned = {place: [["tt.divisibility", 16]] for place in places}
source = ASTSource(ours._target_kernel, signature, constexprs=values, attrs=aligned)
kernel = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 8})
open(sys.argv[1], "wb").write(kernel.asm["cubin"])
"""


@pytest.mark.slow
def test_machine_code_for_an_h100(compiled):
    kernel = compiled(COMPILE)
    accesses = kernel.accesses()
    assert kernel.registers <= 80, "as many as let three blocks of 256 threads stay on an SM"
    assert kernel.stack == 0 and not any(re.match("LDL|STL", name) for name in accesses)
    assert accesses["LDG.E.EF.128"] == 2 * 5 and accesses["STG.E.128"] == 2  # 16 elements a thread
