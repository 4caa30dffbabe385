"""The kernels of `triton`: the loss, and the scaling of its gradient.

Each kernel is compiled as one function: those that it calls, and the tuples that they take, cost
nothing.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .triton_noise import normal


@triton.jit
def once(ptr, at, inside):
    """Elements that nobody reads again soon: they should not displace what is in the caches."""
    return tl.load(ptr + at, mask=inside, other=0.0, eviction_policy="evict_first").to(tl.float32)


@triton.jit
def _of_thread(values, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """Sums of WIDTH neighbours, which one thread loads: fewer registers than sums by element."""
    return tl.sum(tl.reshape(values, (BLOCK // WIDTH, WIDTH)), axis=1)


@triton.jit
def _residual(
    v, x_ptr, eps_ptr, place, path, draw, term, SOURCE: tl.constexpr, BLOCK: tl.constexpr
):
    """m (v - u) of one term, zero outside the sample."""
    at, inside = place
    alpha, sigma, threshold = path
    seed, offset, first = draw
    u = alpha * once(x_ptr, at, inside)
    if SOURCE == 1:
        u += sigma * once(eps_ptr, at, inside)
    if SOURCE == 2:
        u += sigma * normal(seed, offset, first, term, BLOCK)
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


@triton.jit
def _finish_sample(
    row_ptr,
    d_ptr,
    a_ptr,
    nonfinite_ptr,
    weights,
    chunks,
    n,
    sigma,
    FM: tl.constexpr,
    RAND: tl.constexpr,
    HARD: tl.constexpr,
    ANCHOR: tl.constexpr,
    CHUNKS: tl.constexpr,
):
    """Stores what a sample's chunks add up to; returns sum w c d_k."""
    share = _distance(row_ptr, 0, d_ptr, weights[0], chunks, n, sigma, FM, CHUNKS)
    share += _distance(row_ptr, 1, d_ptr, weights[1], chunks, n, sigma, RAND, CHUNKS)
    share += _distance(row_ptr, 2, d_ptr, weights[2], chunks, n, sigma, HARD, CHUNKS)
    share += _distance(row_ptr, 3, d_ptr, weights[3], chunks, n, sigma, ANCHOR, CHUNKS)
    _alignment(row_ptr, 4, a_ptr, chunks, n, RAND, CHUNKS)
    _alignment(row_ptr, 5, a_ptr + 1, chunks, n, HARD, CHUNKS)
    tl.store(nonfinite_ptr, _sum(row_ptr, 6, chunks, CHUNKS).to(tl.int64))
    return share


@triton.jit
def _store_loss(loss_ptr, shares_ptr, batch):
    """The sum of all samples' shares, in their order."""
    loss = tl.zeros((), tl.float64)
    for i in range(batch):
        loss += tl.load(shares_ptr + i)
    tl.store(loss_ptr, loss.to(tl.float32))


# A batch of another size is no other kernel. What n divides by is told by ALIGNED.
@triton.jit(do_not_specialize=["n", "batch", "chunks"])
def loss_kernel(
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
    path = (alpha, sigma, threshold)
    for i in range(STEPS):
        first = chunk * (BLOCK * STEPS) + i * BLOCK
        at = first + tl.arange(0, BLOCK)
        inside = at < n
        at += row
        place, draw = (at, inside), (seed, offset, first)
        v = once(v_ptr, at, inside)
        bad = tl.where(tl.abs(v) < float("inf"), 0.0, 1.0)
        nonfinite += _of_thread(bad, WIDTH, BLOCK)  # exact up to 2^24 of a chunk
        e = _residual(v, x_ptr, eps_ptr, place, path, draw, 0, FM, BLOCK)
        d_fm += _of_thread(e * e, WIDTH, BLOCK)
        g = w_fm * per_element * e
        if RAND > 0:
            e_k = _residual(v, x_rand_ptr, eps_rand_ptr, place, path, draw, 1, RAND, BLOCK)
            d_rand += _of_thread(e_k * e_k, WIDTH, BLOCK)
            a_rand += _of_thread(e * e_k, WIDTH, BLOCK)
            g += w_rand * c_rand * per_element * e_k
        if HARD > 0:
            e_k = _residual(v, x_hard_ptr, eps_hard_ptr, place, path, draw, 2, HARD, BLOCK)
            d_hard += _of_thread(e_k * e_k, WIDTH, BLOCK)
            a_hard += _of_thread(e * e_k, WIDTH, BLOCK)
            g += w_hard * c_hard * per_element * e_k
        if ANCHOR:
            e_k = v - once(v_ref_ptr, at, inside)
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
        share = _finish_sample(
            partials_ptr + b * chunks * 8,
            distances_ptr + 4 * b,
            alignment_ptr + 2 * b,
            nonfinite_ptr + b,
            (w_fm, w_rand * c_rand, w_hard * c_hard, w_anc * c_anc),
            chunks,
            n,
            sigma,
            FM,
            RAND,
            HARD,
            ANCHOR,
            CHUNKS,
        )
        tl.store(shares_ptr + b, share / batch)
        tl.debug_barrier()
        if tl.atomic_add(tickets_ptr + batch, 1, sem="acq_rel") == batch - 1:
            _store_loss(loss_ptr, shares_ptr, batch)


@triton.jit
def scale_kernel(gradient_ptr, factor_ptr, n, BLOCK: tl.constexpr):
    factor = tl.load(factor_ptr)
    if factor != 1.0:
        at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        value = tl.load(gradient_ptr + at, mask=at < n).to(tl.float32) * factor
        tl.store(gradient_ptr + at, value.to(gradient_ptr.dtype.element_ty), mask=at < n)
