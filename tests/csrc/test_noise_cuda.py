"""The CUDA kernels of noise and x_t, run on the CPU by tests/csrc/emulation: no GPU is needed."""

from __future__ import annotations

import cuda_emulation
import pytest
import torch
from cuda_emulation import guarded

from direct import noise

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(cuda_emulation.compiler() is None, reason="no C++ compiler"),
]


@pytest.fixture(scope="module")
def cuda(tmp_path_factory):
    return cuda_emulation.build(tmp_path_factory.mktemp("cuda"), kernels="noise_cuda.cu")


@pytest.mark.parametrize("elements", [1, 1023, 1025, 4099])
def test_noise_and_path_are_the_definitions_bit_for_bit(cuda, elements):
    shape, t = (3, elements), torch.tensor([0.0, 0.37, 1.0])
    key = noise.keys(5, elements, range(3))
    for term in (noise.EPS, noise.HARD):
        out = cuda.normal(key, guarded(torch.zeros(shape), elements % 4 == 3), term)
        assert out.equal(noise.draw(key, shape, term))
    eps = noise.draw(key, shape, noise.EPS)
    for dtype in (torch.float32, torch.bfloat16):
        x = guarded(torch.randn(shape).to(dtype), elements % 4 == 1)
        out = cuda.interpolate(x, key, t, guarded(torch.zeros_like(x), elements % 4 == 1))
        assert out.equal(((1 - t[:, None]) * x.float() + t[:, None] * eps).to(dtype))
