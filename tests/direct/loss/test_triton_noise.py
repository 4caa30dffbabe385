"""Noise drawn by Triton's kernel: direct/noise.py's, bit for bit."""

import numpy as np
import pytest
import torch

triton = pytest.importorskip("triton")

from direct import noise, velocity_loss  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SHAPE = (2, 4096)


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


def gradient_at_zero(eps, **named):
    """Of v = 0, with x = 0."""
    v = torch.zeros(SHAPE, device=DEVICE, requires_grad=True)
    eps = None if eps is None else eps.to(DEVICE)
    named = {k: t.to(DEVICE) if isinstance(t, torch.Tensor) else t for k, t in named.items()}
    velocity_loss(v, torch.zeros_like(v), eps, **named, backend="triton").loss.backward()
    return v.grad.cpu()


@pytest.mark.slow
def test_noise_is_the_definition_bit_for_bit(exact_fma):
    """With x = 0, v = 0 the gradient is -2 eps / n, a power of two here: exact."""
    key = noise.keys(3, 4, range(2))
    key[0, 1] = -5  # an offset that wraps
    gradient = gradient_at_zero(None, noise_key=key)
    assert torch.equal(gradient * -4096, noise.draw(key, SHAPE, noise.EPS))
    zeros = torch.zeros(SHAPE)
    named = {"rand_latents": zeros, "lambda_rand": 0.5, "noise_key": key, "threshold": 50.0}
    gradient = gradient_at_zero(zeros, **named, weight=torch.tensor([[0.0, 1, 1, 1]] * 2))
    assert torch.equal(gradient * 8192, noise.draw(key, SHAPE, noise.RAND))
