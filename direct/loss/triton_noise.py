"""direct/noise.py's normals in Triton, bit for bit."""

from __future__ import annotations

import triton
import triton.language as tl

from .. import noise

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
def normal(seed, offset, first, term, BLOCK: tl.constexpr):
    """The noise of elements `first` to `first + BLOCK`."""
    counter = offset + first // 4 + tl.arange(0, BLOCK // 4)
    low, high = counter.to(tl.uint32), (counter >> 32).to(tl.uint32)
    zero = tl.zeros_like(low)
    w0, w1, w2, w3 = tl.philox(seed, low, high, zero + term, zero)
    n0, n1 = _box_muller(w0, w1)
    n2, n3 = _box_muller(w2, w3)
    return tl.interleave(tl.interleave(n0, n2), tl.interleave(n1, n3))
