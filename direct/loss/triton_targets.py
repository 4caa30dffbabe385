"""K targets in Triton, for GPUs without the compiled extension: as csrc/targets_cuda.cu.

A program owns a chunk of one sample and keeps its v and its gradient while the targets pass; torch
adds the chunks' sums, in double and always in the same order. A number of targets is a kernel.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .reference import TargetInputs, per_term
from .triton import INTERPRETED, current
from .triton_kernels import once

BLOCK = 4096  # elements of a chunk, 16 a thread


@triton.jit(do_not_specialize=["n", "chunks"])
def _target_kernel(
    v_ptr,
    u_ptrs,
    scale_ptr,
    gradient_ptr,
    partials_ptr,
    n,
    chunks,
    threshold,
    COUNT: tl.constexpr,
    GRADIENT: tl.constexpr,
    ALIGNED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    program = tl.program_id(0)
    b = (program // chunks).to(tl.int64)
    chunk = (program % chunks).to(tl.int64)
    if ALIGNED:
        n = n // 16 * 16  # the same number, and the compiler sees what divides it
    at = chunk * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    at += b * n
    v = once(v_ptr, at, inside)
    g = tl.zeros((BLOCK,), tl.float32)
    for k in tl.static_range(COUNT):
        e = v - once(u_ptrs[k], at, inside)
        e = tl.where(inside & (tl.abs(e) <= threshold), e, 0.0)
        tl.store(partials_ptr + (b * COUNT + k) * chunks + chunk, tl.sum(e * e))
        g += tl.load(scale_ptr + b * COUNT + k) * e
    if GRADIENT:
        tl.store(gradient_ptr + at, g.to(gradient_ptr.dtype.element_ty), mask=inside)


def evaluate(p: TargetInputs) -> tuple[Tensor, Tensor, Tensor]:
    """As `reference.evaluate_targets`."""
    v, batch, n, count = p.v, p.v.shape[0], p.v[:1].numel(), len(p.targets)
    weight = per_term(p.weight, batch, count, torch.float32, v.device)
    columns = zip(weight.unbind(1), p.coefficients, strict=True)
    weight = torch.stack([w * c for w, c in columns], 1) / max(batch, 1)  # w c / B
    scale, chunks = weight * (2 / max(n, 1)), triton.cdiv(n, BLOCK)
    partials = torch.empty(batch, count, chunks, dtype=torch.float32, device=v.device)
    wide = torch.float32 if INTERPRETED else v.dtype
    gradient = torch.empty(v.shape if p.need_gradient else (0,), dtype=wide, device=v.device)
    if batch * chunks:
        with current(v.device):
            _target_kernel[(batch * chunks,)](
                v.contiguous(),
                tuple(u.contiguous() for u in p.targets),
                scale,
                gradient,
                partials,
                n,
                chunks,
                p.threshold,
                count,
                p.need_gradient,
                n % 16 == 0,
                BLOCK,
                num_warps=8,
            )
    distances = partials.double().sum(2) / max(n, 1)
    return (weight * distances).sum().float(), distances.float(), gradient.to(v.dtype)
