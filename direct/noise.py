"""Random numbers without a state: every draw is a pure function of a key or of (seed, step).

Nothing is kept between steps, so a resumed run draws what an uninterrupted one would have, and two
variants with one seed see the same data order, times, noise and negatives (common random numbers).

Normal noise is counter-based and has the same bits on every backend.

The words are Philox4x32-10 (Salmon et al., SC 2011) with the layout of PyTorch's stateless
generator and of Triton's `tl.randint4x`: a key is `(seed, offset)`, four consecutive elements share
the block `offset + i // 4`, and element `i` takes word `i % 4`. The third counter word tells terms
of one loss apart, so one key serves `eps` and both negatives' noises.

Words become normals by Box-Muller, (R cos, R sin) of each pair. Logarithm, sine and cosine are
short polynomials, written with integer operations, correctly rounded `+`, `*`, fused multiply-add
and square root alone. IEEE 754 fixes the bits of those, so a CPU, a GPU and this file agree on
every bit of every normal, whatever their libraries do. csrc/noise.h and
loss/triton_noise.py hold the same text.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from . import extension
from .common.errors import UserError
from .common.seed import stable_seed

EPS, RAND, HARD = 0, 1, 2  # the term of the loss a noise belongs to: counter word 2

# -2 ln(1 + f) = f * Q(f) for f in [1/sqrt(2) - 1, sqrt(2) - 1], relative error 3e-8.
LOG = (
    -2.0,
    0.9999995827674866,
    -0.6666831970214844,
    0.5000589489936829,
    -0.39916834235191345,
    0.3308747708797455,
    -0.2983475625514984,
    0.28964370489120483,
    -0.1791982352733612,
)
# On |x| <= pi/2, with z = x^2: sin x = x + x z S(z), cos x = 1 + z C(z), errors 2.7e-8 and 1e-9.
SIN = (-0.1666666567325592, 0.008333242498338223, -0.0001982278481591493, 2.634877318996587e-06)
COS = (
    -0.5,
    0.0416666604578495,
    -0.0013888654066249728,
    2.477469934092369e-05,
    -2.6299781552552304e-07,
)
MINUS_2_LN2 = -1.3862943649291992 * 2.0**-23  # of an exponent in a float's upper bits
RADIANS = 3.1415927410125732 * 2.0**-32  # one step of a 33-bit angle, in single precision
SQRT_HALF_BITS = 0x3F3504F3  # of the float 1/sqrt(2)
MOST = 0x3F7FFFFF - SQRT_HALF_BITS  # the largest float below 1, from there
EXPONENT = -(1 << 23)  # a float's bits but for those of its mantissa

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)


def keys(seed: int, step: int, indices: Tensor | Sequence[int], stream: int = 0) -> Tensor:
    """One key per sample, a function of its arguments alone: batch and sharding cannot matter.

    `indices` [B]: the samples' global indices, at least 0. `seed`, `step`: 64-bit integers.
    `stream`: 0 to 2^32 - 1, tells independent uses within a step apart. Returns int64 [B, 2] on the
    CPU (or the device of `indices`): a Philox block's words are the key, as in torch's fold_in.
    """
    if not 0 <= stream <= _MASK:
        raise UserError(f"stream={stream} must be in 0 .. 2^32 - 1")
    indices = torch.as_tensor(indices, dtype=torch.int64)
    zero = torch.zeros_like(indices)
    root = [zero + part for part in _halves(seed)]
    counter = [zero + part for part in (*_halves(step), stream, 0)]
    run = philox(counter, root)
    words = philox([*_halves(indices), zero, zero + 1], run[:2])
    return torch.stack((_join(words[0], words[1]), _join(words[2], words[3])), dim=-1)


def normal(
    key: Tensor,
    shape: Sequence[int],
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
    term: int = EPS,
) -> Tensor:
    """Standard normal noise of the given full shape [B, ...] from `key` int64 [B, 2].

    Drawn in single precision, rounded once to `dtype`. `term`: EPS, RAND or HARD. |value| < 6.77.
    """
    key = _checked(key, shape).to(device)
    if extension.runs_on(key.device):
        return torch.ops.direct.normal(key, _count(shape), term).reshape(shape).to(dtype)
    return draw(key, shape, term).to(dtype)


def draw(key: Tensor, shape: Sequence[int], term: int) -> Tensor:
    """`normal` in float32 and plain tensor operations: the definition, on any device."""
    elements = _count(shape)
    blocks = torch.arange((elements + 3) // 4, device=key.device)
    offset = key[:, 1:] + blocks  # [B, blocks], wraps like any 64-bit counter
    zero = torch.zeros_like(offset)
    seed = [part + zero for part in _halves(key[:, :1])]
    words = philox([*_halves(offset), zero + term, zero], seed)
    values = torch.stack((*_box_muller(*words[:2]), *_box_muller(*words[2:])), dim=-1)
    return values.flatten(1)[:, :elements].reshape(shape)


def interpolate(latents: Tensor, key: Tensor, t: Tensor) -> Tensor:
    """x_t = (1 - t) x + t eps, with `eps = normal(key)` not kept: the loss draws it again.

    `latents` [B, ...], `key` int64 [B, 2], `t` [B] in [0, 1]. Formed in single precision and
    rounded once to the dtype of `latents`.
    """
    if t.shape != latents.shape[:1]:
        raise UserError(f"t has shape {list(t.shape)}; give one per sample, [{latents.shape[0]}]")
    key = _checked(key, latents.shape).to(latents.device)
    t = t.to(latents.device, torch.float32)
    if extension.runs_on(latents.device) and latents.dtype in (torch.bfloat16, torch.float32):
        return torch.ops.direct.interpolate(latents, key, t)
    t = t.reshape(-1, *[1] * (latents.dim() - 1))
    eps = normal(key, latents.shape, torch.float32)
    return ((1 - t) * latents.float() + t * eps).to(latents.dtype)


def philox(counter: Sequence[Tensor], key: Sequence[Tensor]) -> list[Tensor]:
    """Philox4x32-10: four counter and two key words to four words, each an int64 in [0, 2^32)."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high0, low0 = _wide_product(c0, _MULTIPLIERS[0])
        high1, low1 = _wide_product(c2, _MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return [c0, c1, c2, c3]


def _box_muller(word0: Tensor, word1: Tensor) -> tuple[Tensor, Tensor]:
    """R cos, R sin with R = sqrt(-2 ln u) of one word and the angle 2 pi w / 2^32 of the other."""
    # Through double precision: torch's vectorised single-precision root is not correctly rounded.
    radius = _minus_2_log(word0).double().sqrt().float()
    half_turn = ((word1 + (1 << 30)) >> 31) & 1  # the nearest; what is left is at most pi/2
    radius = torch.where(half_turn == 1, -radius, radius)
    x = ((word1 << 1) & _MASK).to(torch.int32).float() * RADIANS
    z = x * x
    sine = _fma(x * z, _polynomial(SIN, z), x)
    cosine = _fma(_polynomial(COS, z), z, 1.0)
    return radius * cosine, radius * sine


def _minus_2_log(word: Tensor) -> Tensor:
    """-2 ln u for u = (word + 1/2) / 2^32 in single precision, below 1: at least 1.1e-7."""
    u = word.float() * 2.0**-32 + 2.0**-33  # the product is exact: a fused multiply-add
    above = (u.view(torch.int32) - SQRT_HALF_BITS).clamp(max=MOST)
    scale = above & EXPONENT  # u = (1 + f) 2^(scale / 2^23)
    f = (above - scale + SQRT_HALF_BITS).view(torch.float32) - 1
    return _fma(scale.float(), MINUS_2_LN2, f * _polynomial(LOG, f))


def _polynomial(coefficients: Sequence[float], x: Tensor) -> Tensor:
    value = torch.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = _fma(value, x, coefficient)
    return value


def _fma(a: Tensor, b: Tensor | float, c: Tensor | float) -> Tensor:
    """a b + c in single precision, rounded once.

    In double precision the product is exact. Rounding the sum to odd there, instead of to nearest,
    makes the second rounding right in every case (Boldo and Melquiond, 2008).
    """
    product = a.double() * b
    c = c.double() if isinstance(c, Tensor) else torch.full_like(product, c)
    total = product + c
    rest = total - product
    error = (product - (total - rest)) + (c - rest)  # exact (Knuth's two-sum)
    bits = total.view(torch.int64)
    step = torch.where((error > 0) == (total > 0), 1, -1)
    return (
        torch.where((error != 0) & (bits & 1 == 0), bits + step, bits).view(torch.float64).float()
    )


def _wide_product(a: Tensor, b: int) -> tuple[Tensor, Tensor]:
    """High and low 32 bits of a b; the product may wrap in its sign, which the mask undoes."""
    product = a * b
    return (product >> 32) & _MASK, product & _MASK


def _halves(value):
    """The low and the high 32 bits of a 64-bit integer or tensor."""
    return value & _MASK, (value >> 32) & _MASK


def _join(low: Tensor, high: Tensor) -> Tensor:
    return low | (high << 32)


def _count(shape: Sequence[int]) -> int:
    elements = 1
    for size in shape[1:]:
        elements *= size
    return elements


def _checked(key: Tensor, shape: Sequence[int]) -> Tensor:
    if key.dtype != torch.int64 or list(key.shape) != [shape[0], 2]:
        raise UserError(
            f"noise_key is {key.dtype} {list(key.shape)}; "
            f"give int64 [{shape[0]}, 2], as noise.keys does"
        )
    return key


def uniform(seed: int, step: int, stream: str, count: int) -> np.ndarray:
    """[count] float64 in [0, 1), one per global sample; entry b does not depend on `count`."""
    return np.random.Generator(np.random.Philox(key=stable_seed(seed, step, stream))).random(count)


def indices(seed: int, step: int, batch: int, size: int) -> np.ndarray:
    """[batch] int64: which of `size` samples global batch `step` holds, by epoch permutations."""
    position = step * batch + np.arange(batch)
    epochs = position // size
    chosen = np.empty(batch, np.int64)
    for epoch in np.unique(epochs):
        chosen[epochs == epoch] = _permutation(seed, int(epoch), size)[
            position[epochs == epoch] % size
        ]
    return chosen


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    generator = np.random.Generator(np.random.Philox(key=stable_seed(seed, epoch, "order")))
    return generator.permutation(size)
