"""The kernels in Triton: a factor on the gradient, and machine code for an H100."""

import re

import pytest
import torch

triton = pytest.importorskip("triton")

from direct.loss.triton import scale_  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def test_a_factor_of_one_touches_nothing():
    gradient = torch.arange(2000.0, device=DEVICE)
    scale_(gradient, torch.tensor(1.0, device=DEVICE))
    assert gradient[1999] == 1999
    scale_(gradient, torch.tensor(0.5, device=DEVICE))
    assert torch.equal(gradient.cpu(), torch.arange(2000) / 2)


COMPILE = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from direct.loss.triton import BLOCK, STEPS
from direct.loss.triton_kernels import loss_kernel

names = loss_kernel.arg_names
types = dict(key_ptr="*i64", nonfinite_ptr="*i64", shares_ptr="*fp64", tickets_ptr="*i32")
types |= dict.fromkeys(("n", "batch", "chunks"), "i32")  # not specialised
types |= dict.fromkeys("c_rand c_hard c_anc threshold alpha sigma per_element".split(), "fp32")
names32 = "weight_ptr loss_ptr distances_ptr alignment_ptr partials_ptr".split()
types |= dict.fromkeys(names32, "*fp32")
values = dict(FM=1, RAND=2, HARD=2, ANCHOR=1, KEYED=True, WEIGHTS=4, GRADIENT=True)
values |= dict(ALIGNED=True, BLOCK=BLOCK, STEPS=STEPS, CHUNKS=256)
signature = {n: types.get(n, "*bf16" if n.endswith("_ptr") else "constexpr") for n in names}
multiples = [i for i, n in enumerate(names) if n.endswith("_ptr")]
aligned = {(i,): [["tt.divisibility", 16]] for i in multiples}
source = ASTSource(loss_kernel, signature, constexprs=values, attrs=aligned)
kernel = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4})
open(sys.argv[1], "wb").write(kernel.asm["cubin"])
"""


@pytest.mark.slow
def test_machine_code_for_an_h100(compiled):
    kernel = compiled(COMPILE)
    accesses = kernel.accesses()
    assert kernel.registers <= 128, "as many as let four blocks of 128 threads stay on an SM"
    assert kernel.stack == 0 and not any(re.match("LDL|STL", name) for name in accesses)
    assert accesses["LDG.E.EF.128"] == 6 and accesses["STG.E.128"] == 1  # all but the drawn noises
