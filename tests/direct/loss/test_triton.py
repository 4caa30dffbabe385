"""The Triton backend: in its interpreter against the oracle, and compiled for an H100."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

triton = pytest.importorskip("triton")

from direct import noise, velocity_loss  # noqa: E402
from direct.loss import machine_code  # noqa: E402

from .oracle import case, oracle  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture
def exact_fma(monkeypatch):
    """Triton 3.7's interpreter rounds `fma` twice; a GPU rounds once, and so does this."""
    if DEVICE == "cuda":
        return
    from triton.runtime import interpreter

    def create_fma(self, x, y, z):
        parts = (torch.from_numpy(np.array(part.data, dtype=np.float32)) for part in (x, y, z))
        value = noise._fma(*torch.broadcast_tensors(*parts)).numpy()
        return interpreter.TensorHandle(value, z.dtype.scalar)

    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_fma", create_fma)


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


@pytest.mark.slow
def test_noise_is_the_definition_bit_for_bit(exact_fma):
    """With x = 0, v = 0 the gradient is -2 eps / n, a power of two here: exact."""
    shape = (2, 4096)
    key = noise.keys(3, 4, range(2))
    key[0, 1] = -5  # an offset that wraps
    zeros = torch.zeros(shape)
    *_, gradient = run((zeros, zeros, None), {}, noise_key=key)
    assert torch.equal(gradient * -4096, noise.draw(key, shape, noise.EPS))
    named = {"rand_latents": zeros, "lambda_rand": 0.5, "noise_key": key, "threshold": 50.0}
    named |= {"weight": torch.tensor([[0.0, 1, 1, 1]] * 2)}
    *_, gradient = run((zeros, zeros, zeros), named)
    assert torch.equal(gradient * 8192, noise.draw(key, shape, noise.RAND))


def test_empty_input_and_factors():
    for shape in ((0, 3), (2, 0)):
        positional, named = case(shape)
        loss, distances, *_, gradient = run(positional, named)
        assert loss == 0 and distances.shape == (shape[0], 4) and gradient.shape == shape
    from direct.loss.triton import scale_

    gradient = torch.arange(2000.0, device=DEVICE)
    scale_(gradient, torch.tensor(1.0, device=DEVICE))
    assert gradient[1999] == 1999
    scale_(gradient, torch.tensor(0.5, device=DEVICE))
    assert torch.equal(gradient.cpu(), torch.arange(2000) / 2)


def test_launches_are_on_the_tensors_own_device():
    from direct.loss.triton import _current

    assert _current(torch.device("cuda", 1)).idx == 1
    with _current(torch.device("cpu")):
        pass


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from direct.loss import triton as ours  # noqa: E402

names = ours._loss_kernel.arg_names
types = dict(key_ptr="*i64", nonfinite_ptr="*i64", shares_ptr="*fp64", tickets_ptr="*i32")
types |= dict.fromkeys(("n", "batch", "chunks"), "i32")  # not specialised
types |= dict.fromkeys("c_rand c_hard c_anc threshold alpha sigma per_element".split(), "fp32")
names32 = "weight_ptr loss_ptr distances_ptr alignment_ptr partials_ptr".split()
types |= dict.fromkeys(names32, "*fp32")
values = dict(FM=1, RAND=2, HARD=2, ANCHOR=1, KEYED=True, WEIGHTS=4, GRADIENT=True)
values |= dict(ALIGNED=True, BLOCK=ours.BLOCK, STEPS=ours.STEPS, CHUNKS=256)
signature = {n: types.get(n, "*bf16" if n.endswith("_ptr") else "constexpr") for n in names}
multiples = [i for i, n in enumerate(names) if n.endswith("_ptr")]
aligned = {(i,): [["tt.divisibility", 16]] for i in multiples}
source = ASTSource(ours._loss_kernel, signature, constexprs=values, attrs=aligned)
kernel = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4})
import sys
open(sys.argv[1], "wb").write(kernel.asm["cubin"])
"""


@pytest.mark.slow
@pytest.mark.skipif(machine_code.cuobjdump() is None, reason="no cuobjdump, it comes with triton")
def test_machine_code_for_an_h100(tmp_path):
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    cubin = tmp_path / "loss.cubin"
    subprocess.run([sys.executable, "-c", COMPILE, cubin], check=True, env=environment)
    (kernel,) = machine_code.kernels(cubin)
    accesses = kernel.accesses()
    assert kernel.registers <= 128, "as many as let four blocks of 128 threads stay on an SM"
    assert kernel.stack == 0 and not any(re.match("LDL|STL", name) for name in accesses)
    assert accesses["LDG.E.EF.128"] == 6 and accesses["STG.E.128"] == 1  # all but the drawn noises
