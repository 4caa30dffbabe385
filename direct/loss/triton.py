"""The loss in Triton: one launch, one pass, for GPUs without the compiled extension.

The same scheme as csrc/cuda_kernels.cu. A program owns a chunk of one sample, whose size does not
depend on the device; it stores its sums, takes a ticket, and the last program of a sample adds the
chunks in order, the last sample the loss. No floating-point atomics: the same bits every time.
The kernels are in `triton_kernels`, the noise that they draw in `triton_noise`.

Triton's interpreter truncates float32 to bfloat16 where a GPU rounds: there (`INTERPRETED`) the
gradient is stored in float32 and rounded by torch.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

import torch
import triton
from torch import Tensor

from .reference import Inputs, Result
from .triton_kernels import loss_kernel, scale_kernel

BLOCK, STEPS = 1024, 8  # elements at a time, times per chunk
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
ABSENT, GIVEN, DRAWN, MEAN = 0, 1, 2, 3  # how a term comes by its noise; ABSENT: no such term


def evaluate(p: Inputs) -> Result:
    """As `reference.evaluate`."""
    v, batch, n = p.v, p.v.shape[0], p.v[:1].numel()
    dense = [tensor.contiguous() if isinstance(tensor, Tensor) else None for tensor in p[:10]]
    floats: dict[str, Any] = {"dtype": torch.float32, "device": v.device}
    wide = torch.float32 if INTERPRETED else v.dtype
    gradient = torch.empty(v.shape if p.need_gradient else (0,), dtype=wide, device=v.device)
    sources = (
        _source(p.x, p.eps, False),
        _source(p.x_rand, p.eps_rand, p.marginal),
        _source(p.x_hard, p.eps_hard, p.marginal),
    )
    chunks = triton.cdiv(n, BLOCK * STEPS)
    if batch * chunks == 0:
        return _of_nothing(batch, (*sources, p.v_ref is not None), p.sigma_dot, floats, gradient)
    loss, distances = torch.empty((), **floats), torch.empty(batch, 4, **floats)
    alignment = torch.empty(batch, 2, **floats)
    nonfinite = torch.empty(batch, dtype=torch.int64, device=v.device)
    partials = torch.empty(batch, chunks, 8, **floats)
    shares = torch.empty(batch, dtype=torch.float64, device=v.device)
    tickets = torch.zeros(batch + 1, dtype=torch.int32, device=v.device)
    with current(v.device):
        loss_kernel[(batch * chunks,)](
            *dense,
            gradient,
            loss,
            distances,
            alignment,
            nonfinite,
            partials,
            shares,
            tickets,
            n,
            batch,
            chunks,
            -p.lambda_rand,
            -p.lambda_hard,
            p.lambda_anc,
            p.threshold,
            p.alpha_dot,
            p.sigma_dot,
            2 / (batch * n),
            *sources,
            int(p.v_ref is not None),
            p.key is not None,
            0 if p.weight is None else 1 if p.weight.dim() == 1 else 4,
            p.need_gradient,
            n % 16 == 0,
            BLOCK,
            STEPS,
            256,
            enable_fp_fusion=True,
            num_warps=4,
        )
    return loss, distances, alignment, nonfinite, gradient.to(v.dtype)


def _source(latents: Tensor | None, given: Tensor | None, mean: bool) -> int:
    if latents is None:
        return ABSENT
    return GIVEN if given is not None else MEAN if mean else DRAWN


def _of_nothing(batch: int, present: tuple, sigma_dot: float, floats: dict, gradient: Tensor):
    """An empty batch or samples without elements: no program would run."""
    rows = [torch.nan if not p else sigma_dot**2 if p == MEAN else 0.0 for p in present]
    distances = torch.tensor([rows] * batch, **floats).reshape(batch, 4)
    nonfinite = torch.zeros(batch, dtype=torch.int64, device=distances.device)
    return torch.zeros((), **floats), distances, -0.0 * distances[:, 1:3], nonfinite, gradient


def scale_(gradient: Tensor, factor: Tensor) -> None:
    """`gradient *= factor` in place, decided on the device: a factor of 1 touches nothing."""
    n = gradient.numel()
    with current(gradient.device):
        scale_kernel[(triton.cdiv(n, BLOCK),)](gradient, factor, n, BLOCK)


def current(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """For the time of a launch: Triton launches on the current device, wherever the tensors are."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()
