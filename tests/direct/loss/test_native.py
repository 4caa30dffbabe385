"""The compiled operator as a citizen of torch: opcheck, memory, 64-bit indices."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from direct import extension, noise, velocity_loss

from .oracle import case

compiled = pytest.mark.skipif(
    extension.MISSING is not None, reason="built without a compiler, like cuda"
)


@pytest.mark.slow
@compiled
@pytest.mark.parametrize("need_gradient", [True, False])
def test_opcheck(need_gradient):
    (v, x, _), named = case((2, 3, 5))
    key = noise.keys(0, 0, range(2))
    v.requires_grad_(need_gradient)
    negatives = (named["rand_latents"], None, named["hard_latents"], named["hard_noise"])
    numbers = (0.1, 0.2, 0.3, 50.0, -1.0, 1.0, False, need_gradient)
    arguments = (v, x, None, *negatives, named["reference"], key, torch.rand(2, 4), *numbers)
    torch.library.opcheck(torch.ops.direct.velocity_loss.default, arguments)
    torch.library.opcheck(torch.ops.direct.normal.default, (key, 33, 1))
    torch.library.opcheck(torch.ops.direct.interpolate.default, (x, key, torch.rand(2)))


def run(program):
    """What a program prints in a fresh interpreter."""
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.slow
@compiled
def test_extra_memory_is_under_a_megabyte():
    """Peak resident memory of a call on 151 MB of input, beyond the gradient's own 17 MB."""
    program = """
import resource, torch
from direct import velocity_loss, noise
make = lambda: torch.zeros(4, 2_096_640, dtype=torch.bfloat16)
v, x, rand, hard, reference = (make() for _ in range(5))
key = noise.keys(0, 0, range(4))
arguments = dict(rand_latents=rand, hard_latents=hard, reference=reference, noise_key=key)
velocity_loss(v, x, x, backend="cpp")
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
ballast = make(); ballast.fill_(1); del ballast  # what the gradient may take
before = peak()
out = velocity_loss(v.requires_grad_(), x, None, **arguments, backend="cpp")
print((peak() - before) / 1024)
"""
    assert float(run(program)) < 1


@pytest.mark.slow
@compiled
def test_64_bit_indexing():
    """2^31 + 4096 elements of stride 0: the sums must count every one."""
    n = 2**31 + 4096
    v, x, eps = (torch.full((1, 1), value).expand(1, n) for value in (2.0, 0.5, 1.0))
    out = velocity_loss(v, x, eps, backend="cpp")
    assert out.distances[0, 0].item() == 2.25  # (2 - (1 - 0.5))^2, exact in any order
