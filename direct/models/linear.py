"""Linear layers in fp32 on a CPU: bit for bit the same numbers, twice as fast where MKL is slow.

torch multiplies fp32 matrices with MKL, which leaves AVX-512 unused on AMD's processors. oneDNN,
which torch has as well, uses it: 230 to 250 GFLOP/s on one core where MKL has 105. Both add one
product after another; they part only where a sum is long, since MKL adds it up in blocks. Given the
same blocks, oneDNN gives MKL's bits. Whether it does so on the processor at hand is tried, once for
each size (`_same_bits`). Where it does not (MKL on an Intel processor), all is left as it was.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

BLOCK = 192  # MKL adds so many terms at once; a sum of up to twice as many in two halves
WORTH = 2**20  # multiplications; a smaller product gains nothing


def quicken(model: nn.Module) -> nn.Module:
    """Has the model's linear layers compute as above, also backwards. Nothing else changes."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = Linear
    return model


class Linear(nn.Linear):
    """`nn.Linear`, bit for bit."""

    def forward(self, x: Tensor) -> Tensor:
        if not _handled(x, self.weight, self.bias):
            return super().forward(x)
        y: Tensor = _Affine.apply(x.flatten(0, -2), self.weight, self.bias)
        return y.view(*x.shape[:-1], -1)


class _Affine(torch.autograd.Function):
    """x w^T + b, of x [M, K], w [N, K], b [N], in the order in which `addmm` adds it up."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return product(x, w.t(), b)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, w = ctx.saved_tensors
        needed = ctx.needs_input_grad
        return (
            product(g, w) if needed[0] else None,
            product(g.t(), x) if needed[1] else None,
            g.sum(0) if needed[2] else None,
        )


def product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """a b + bias, of fp32 a [M, K], b [K, N], bias [N]: the bits of `torch.mm` or `torch.addmm`."""
    size, by_rows = (*a.shape, b.shape[1]), (a.is_contiguous(), b.is_contiguous())
    dense = all(x.is_contiguous() or x.t().is_contiguous() for x in (a, b))  # nothing is expanded
    worth = dense and math.prod(size) >= WORTH
    if worth and _same_bits(*size, *by_rows, bias is not None, torch.get_num_threads()):
        return _in_blocks(a, b, bias)
    return a @ b if bias is None else torch.addmm(bias, a, b)


def _in_blocks(a: Tensor, b: Tensor, out: Tensor | None) -> Tensor:
    """By oneDNN, the sum over K in MKL's blocks."""
    k = a.shape[1]
    size = k if k <= BLOCK else k // 2 if k <= 2 * BLOCK else BLOCK
    with _onednn():
        first, second = a[:, :size], b[:size]
        total = first @ second if out is None else torch.addmm(out, first, second)
        for start in range(size, k, size):
            total.addmm_(a[:, start : start + size], b[start : start + size])
    return total


@contextmanager
def _onednn() -> Iterator[None]:
    """Products of fp32 matrices are oneDNN's, which may round to bf16 where the CPU has AMX.

    Where it did, `_same_bits` has said no.
    """
    mkldnn: Any = torch.backends.mkldnn
    before, mkldnn.matmul.fp32_precision = mkldnn.matmul.fp32_precision, "bf16"
    try:
        yield
    finally:
        mkldnn.matmul.fp32_precision = before


@cache
def _same_bits(
    m: int, k: int, n: int, a_by_rows: bool, b_by_rows: bool, biased: bool, threads: int
) -> bool:
    """Whether both ways agree in every element of a product of random matrices of this size.

    Another order of adding shows in a good part of the elements. a_by_rows, b_by_rows: how they lie
    in memory; otherwise transposed.
    """
    random = torch.Generator().manual_seed(0)

    def made(height: int, width: int, by_rows: bool) -> Tensor:
        found = torch.empty((height, width) if by_rows else (width, height))
        found.uniform_(-1, 1, generator=random)
        return found if by_rows else found.t()

    with torch.no_grad():
        a, b = made(m, k, a_by_rows), made(k, n, b_by_rows)
        bias = made(1, n, True)[0] if biased else None
        plain = a @ b if bias is None else torch.addmm(bias, a, b)
        return torch.equal(_in_blocks(a, b, bias), plain)


def _handled(x: Tensor, w: Tensor, b: Tensor | None) -> bool:
    """What `nn.Linear` gives to `addmm` in fp32 on a CPU, outside of a compiler."""
    return (
        b is not None
        and x.device.type == "cpu"
        and x.dtype == w.dtype == torch.float32
        and x.dim() in (2, 3)
        and x.is_contiguous()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )
