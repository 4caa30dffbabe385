"""The loss in Triton: one launch, one pass, for GPUs without the compiled extension.

The same scheme as csrc/cuda_kernels.cu. A program owns a chunk of one sample, whose size does not
depend on the device; it stores its sums, takes a ticket, and the last program of a sample adds the
chunks in order, the last sample the loss. No floating-point atomics: the same bits every time.
The noise is direct/noise.py's, bit for bit.

Triton's interpreter truncates float32 to bfloat16 where a GPU rounds: there (WIDE) the gradient is
stored in float32 and rounded by torch.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .. import noise
from .reference import Inputs, Result

BLOCK, STEPS = 1024, 8  # elements at a time, times per chunk
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
ABSENT, GIVEN, DRAWN, MEAN = 0, 1, 2, 3  # how a term comes by its noise; ABSENT: no such term

# Triton takes no globals but constexpr; the values and their meaning are direct/noise.py's.
L0, L1, L2, L3, L4, L5, L6, L7, L8 = (tl.constexpr(c) for c in noise.LOG)
S0, S1, S2, S3 = (tl.constexpr(c) for c in noise.SIN)
C0, C1, C2, C3, C4 = (tl.constexpr(c) for c in noise.COS)
RADIANS, MINUS_2_LN2 = tl.constexpr(noise.RADIANS), tl.constexpr(noise.MINUS_2_LN2)
SQRT_HALF_BITS = tl.constexpr(noise.SQRT_HALF_BITS)
MOST, EXPONENT = tl.constexpr(noise.MOST), tl.constexpr(noise.EXPONENT)


@triton.jit
def _radius(word):
    u = tl.fma(word.to(tl.float32), 2.0**-32 + tl.zeros_like(word).to(tl.float32), 2.0**-33)
    above = tl.minimum(u.to(tl.int32, bitcast=True) - SQRT_HALF_BITS, MOST)
    scale = above & EXPONENT
    f = (above - scale + SQRT_HALF_BITS).to(tl.float32, bitcast=True) - 1.0
    q = tl.fma(tl.full(f.shape, L8, tl.float32), f, L7)
    q = tl.fma(tl.fma(tl.fma(q, f, L6), f, L5), f, L4)
    q = tl.fma(tl.fma(tl.fma(tl.fma(q, f, L3), f, L2), f, L1), f, L0)
    return tl.sqrt_rn(tl.fma(scale.to(tl.float32), MINUS_2_LN2, f * q))


@triton.jit
def _box_muller(word0, word1):
    r = _radius(word0)
    r = tl.where(((word1 + 0x40000000) >> 31) != 0, -r, r)
    x = (word1 << 1).to(tl.int32, bitcast=True).to(tl.float32) * RADIANS
    z = x * x
    s = tl.fma(tl.fma(tl.fma(tl.full(z.shape, S3, tl.float32), z, S2), z, S1), z, S0)
    c = tl.fma(tl.fma(tl.full(z.shape, C4, tl.float32), z, C3), z, C2)
    c = tl.fma(tl.fma(tl.fma(c, z, C1), z, C0), z, 1.0)
    return r * c, r * tl.fma(x * z, s, x)


@triton.jit
def _normal(seed, offset, first, term, BLOCK: tl.constexpr):
    """The noise of elements `first` to `first + BLOCK`."""
    counter = offset + first // 4 + tl.arange(0, BLOCK // 4)
    low, high = counter.to(tl.uint32), (counter >> 32).to(tl.uint32)
    zero = tl.zeros_like(low)
    w0, w1, w2, w3 = tl.philox(seed, low, high, zero + term, zero)
    n0, n1 = _box_muller(w0, w1)
    n2, n3 = _box_muller(w2, w3)
    return tl.interleave(tl.interleave(n0, n2), tl.interleave(n1, n3))


@triton.jit
def _once(ptr, at, inside):
    """Elements that nobody reads again soon: they should not displace what is in the caches."""
    return tl.load(ptr + at, mask=inside, other=0.0, eviction_policy="evict_first").to(tl.float32)


@triton.jit
def _of_thread(values, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """Sums of WIDTH neighbours, which one thread loads: fewer registers than sums by element."""
    return tl.sum(tl.reshape(values, (BLOCK // WIDTH, WIDTH)), axis=1)


@triton.jit
def _residual(
    v,
    x_ptr,
    eps_ptr,
    at,
    inside,
    seed,
    offset,
    first,
    term,
    alpha,
    sigma,
    threshold,
    SOURCE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """m (v - u) of one term, zero outside the sample."""
    u = alpha * _once(x_ptr, at, inside)
    if SOURCE == 1:
        u += sigma * _once(eps_ptr, at, inside)
    if SOURCE == 2:
        u += sigma * _normal(seed, offset, first, term, BLOCK)
    e = v - u
    return tl.where(inside & (tl.abs(e) <= threshold), e, 0.0)


@triton.jit
def _sum(row_ptr, k, chunks, CHUNKS: tl.constexpr):
    """Sum k of a sample over its chunks, always in the same order."""
    total = tl.zeros((CHUNKS,), tl.float64)
    for begin in range(0, chunks, CHUNKS):
        c = begin + tl.arange(0, CHUNKS)
        total += tl.load(row_ptr + c * 8 + k, mask=c < chunks, other=0.0).to(tl.float64)
    return tl.sum(total)


@triton.jit
def _distance(
    row_ptr, k, out_ptr, weight, chunks, n, sigma, SOURCE: tl.constexpr, CHUNKS: tl.constexpr
):
    """Stores d_k, nan where the term is absent; returns w c d_k."""
    share = tl.zeros((), tl.float64)
    if SOURCE == 0:
        tl.store(out_ptr + k, float("nan"))
    else:
        d = _sum(row_ptr, k, chunks, CHUNKS) / n
        if SOURCE == 3:
            d += sigma * sigma
        tl.store(out_ptr + k, d.to(tl.float32))
        share += d * weight
    return share


@triton.jit
def _alignment(row_ptr, k, out_ptr, chunks, n, SOURCE: tl.constexpr, CHUNKS: tl.constexpr):
    if SOURCE == 0:
        tl.store(out_ptr, float("nan"))
    else:
        tl.store(out_ptr, (-_sum(row_ptr, k, chunks, CHUNKS) / n).to(tl.float32))


# A batch of another size is no other kernel. What n divides by is told by ALIGNED.
@triton.jit(do_not_specialize=["n", "batch", "chunks"])
def _loss_kernel(
    v_ptr,
    x_ptr,
    eps_ptr,
    x_rand_ptr,
    eps_rand_ptr,
    x_hard_ptr,
    eps_hard_ptr,
    v_ref_ptr,
    key_ptr,
    weight_ptr,
    gradient_ptr,
    loss_ptr,
    distances_ptr,
    alignment_ptr,
    nonfinite_ptr,
    partials_ptr,
    shares_ptr,
    tickets_ptr,
    n,
    batch,
    chunks,
    c_rand,
    c_hard,
    c_anc,
    threshold,
    alpha,
    sigma,
    per_element,
    FM: tl.constexpr,
    RAND: tl.constexpr,
    HARD: tl.constexpr,
    ANCHOR: tl.constexpr,
    KEYED: tl.constexpr,
    WEIGHTS: tl.constexpr,
    GRADIENT: tl.constexpr,
    ALIGNED: tl.constexpr,
    BLOCK: tl.constexpr,
    STEPS: tl.constexpr,
    CHUNKS: tl.constexpr,
):
    program = tl.program_id(0)
    b = (program // chunks).to(tl.int64)
    chunk = (program % chunks).to(tl.int64)
    if ALIGNED:
        n = n // 16 * 16  # the same number, and the compiler sees what divides it
    row = b * n
    seed, offset = tl.zeros((), tl.uint64), tl.zeros((), tl.int64)
    if KEYED:
        seed = tl.load(key_ptr + 2 * b).to(tl.uint64)
        offset = tl.load(key_ptr + 2 * b + 1)
    w_fm, w_rand, w_hard, w_anc = 1.0, 1.0, 1.0, 1.0
    if WEIGHTS > 0:
        step: tl.constexpr = 1 if WEIGHTS == 4 else 0
        w_fm = tl.load(weight_ptr + b * WEIGHTS)
        w_rand = tl.load(weight_ptr + b * WEIGHTS + step)
        w_hard = tl.load(weight_ptr + b * WEIGHTS + 2 * step)
        w_anc = tl.load(weight_ptr + b * WEIGHTS + 3 * step)

    WIDTH: tl.constexpr = 128 // v_ptr.dtype.element_ty.primitive_bitwidth  # 16 bytes
    zeros = tl.zeros((BLOCK // WIDTH,), tl.float32)
    d_fm, d_rand, d_hard, d_anc, a_rand, a_hard = zeros, zeros, zeros, zeros, zeros, zeros
    nonfinite = zeros
    for i in range(STEPS):
        first = chunk * (BLOCK * STEPS) + i * BLOCK
        at = first + tl.arange(0, BLOCK)
        inside = at < n
        at += row
        v = _once(v_ptr, at, inside)
        bad = tl.where(tl.abs(v) < float("inf"), 0.0, 1.0)
        nonfinite += _of_thread(bad, WIDTH, BLOCK)  # exact up to 2^24 of a chunk
        e = _residual(
            v,
            x_ptr,
            eps_ptr,
            at,
            inside,
            seed,
            offset,
            first,
            0,
            alpha,
            sigma,
            threshold,
            FM,
            BLOCK,
        )
        d_fm += _of_thread(e * e, WIDTH, BLOCK)
        g = w_fm * per_element * e
        if RAND > 0:
            e_k = _residual(
                v,
                x_rand_ptr,
                eps_rand_ptr,
                at,
                inside,
                seed,
                offset,
                first,
                1,
                alpha,
                sigma,
                threshold,
                RAND,
                BLOCK,
            )
            d_rand += _of_thread(e_k * e_k, WIDTH, BLOCK)
            a_rand += _of_thread(e * e_k, WIDTH, BLOCK)
            g += w_rand * c_rand * per_element * e_k
        if HARD > 0:
            e_k = _residual(
                v,
                x_hard_ptr,
                eps_hard_ptr,
                at,
                inside,
                seed,
                offset,
                first,
                2,
                alpha,
                sigma,
                threshold,
                HARD,
                BLOCK,
            )
            d_hard += _of_thread(e_k * e_k, WIDTH, BLOCK)
            a_hard += _of_thread(e * e_k, WIDTH, BLOCK)
            g += w_hard * c_hard * per_element * e_k
        if ANCHOR:
            e_k = v - _once(v_ref_ptr, at, inside)
            e_k = tl.where(inside & (tl.abs(e_k) <= threshold), e_k, 0.0)
            d_anc += _of_thread(e_k * e_k, WIDTH, BLOCK)
            g += w_anc * c_anc * per_element * e_k
        if GRADIENT:
            tl.store(gradient_ptr + at, g.to(gradient_ptr.dtype.element_ty), mask=inside)

    mine = partials_ptr + (b * chunks + chunk) * 8
    tl.store(mine, tl.sum(d_fm))
    tl.store(mine + 1, tl.sum(d_rand))
    tl.store(mine + 2, tl.sum(d_hard))
    tl.store(mine + 3, tl.sum(d_anc))
    tl.store(mine + 4, tl.sum(a_rand))
    tl.store(mine + 5, tl.sum(a_hard))
    tl.store(mine + 6, tl.sum(nonfinite))
    tl.debug_barrier()  # every thread's stores, before the one thread that takes the ticket
    if tl.atomic_add(tickets_ptr + b, 1, sem="acq_rel") == chunks - 1:
        sums_ptr = partials_ptr + b * chunks * 8
        d_ptr = distances_ptr + 4 * b
        share = _distance(sums_ptr, 0, d_ptr, w_fm, chunks, n, sigma, FM, CHUNKS)
        share += _distance(sums_ptr, 1, d_ptr, w_rand * c_rand, chunks, n, sigma, RAND, CHUNKS)
        share += _distance(sums_ptr, 2, d_ptr, w_hard * c_hard, chunks, n, sigma, HARD, CHUNKS)
        share += _distance(sums_ptr, 3, d_ptr, w_anc * c_anc, chunks, n, sigma, ANCHOR, CHUNKS)
        _alignment(sums_ptr, 4, alignment_ptr + 2 * b, chunks, n, RAND, CHUNKS)
        _alignment(sums_ptr, 5, alignment_ptr + 2 * b + 1, chunks, n, HARD, CHUNKS)
        count = _sum(sums_ptr, 6, chunks, CHUNKS)
        tl.store(nonfinite_ptr + b, count.to(tl.int64))
        share = share / batch
        tl.store(shares_ptr + b, share)
        tl.debug_barrier()
        if tl.atomic_add(tickets_ptr + batch, 1, sem="acq_rel") == batch - 1:
            loss = tl.zeros((), tl.float64)
            for i in range(batch):
                loss += tl.load(shares_ptr + i)
            tl.store(loss_ptr, loss.to(tl.float32))


@triton.jit
def _scale_kernel(gradient_ptr, factor_ptr, n, BLOCK: tl.constexpr):
    factor = tl.load(factor_ptr)
    if factor != 1.0:
        at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        value = tl.load(gradient_ptr + at, mask=at < n).to(tl.float32) * factor
        tl.store(gradient_ptr + at, value.to(gradient_ptr.dtype.element_ty), mask=at < n)


def evaluate(p: Inputs) -> Result:
    """As `reference.evaluate`."""

    def source(latents: Tensor | None, given: Tensor | None, mean: bool) -> int:
        if latents is None:
            return ABSENT
        return GIVEN if given is not None else MEAN if mean else DRAWN

    v, batch, n = p.v, p.v.shape[0], p.v[:1].numel()
    dense = [tensor.contiguous() if isinstance(tensor, Tensor) else None for tensor in p[:10]]
    floats: dict[str, Any] = {"dtype": torch.float32, "device": v.device}
    wide = torch.float32 if INTERPRETED else v.dtype
    gradient = torch.empty(v.shape if p.need_gradient else (0,), dtype=wide, device=v.device)
    sources = (
        source(p.x, p.eps, False),
        source(p.x_rand, p.eps_rand, p.marginal),
        source(p.x_hard, p.eps_hard, p.marginal),
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
    with _current(v.device):
        _loss_kernel[(batch * chunks,)](
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


def _of_nothing(batch: int, present: tuple, sigma_dot: float, floats: dict, gradient: Tensor):
    """An empty batch or samples without elements: no program would run."""
    rows = [torch.nan if not p else sigma_dot**2 if p == MEAN else 0.0 for p in present]
    distances = torch.tensor([rows] * batch, **floats).reshape(batch, 4)
    nonfinite = torch.zeros(batch, dtype=torch.int64, device=distances.device)
    return torch.zeros((), **floats), distances, -0.0 * distances[:, 1:3], nonfinite, gradient


def scale_(gradient: Tensor, factor: Tensor) -> None:
    """`gradient *= factor` in place, decided on the device: a factor of 1 touches nothing."""
    n = gradient.numel()
    with _current(gradient.device):
        _scale_kernel[(triton.cdiv(n, BLOCK),)](gradient, factor, n, BLOCK)


def _current(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """For the time of a launch: Triton launches on the current device, wherever the tensors are."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()
