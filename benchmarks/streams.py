"""The GPU's limit: every input read once, one output written, no arithmetic but xor."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _kernel(a, b, c, d, e, f, g, h, out, n, COUNT: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    word = tl.load(a + at, mask=inside) ^ tl.load(b + at, mask=inside)
    word ^= tl.load(c + at, mask=inside) ^ tl.load(d + at, mask=inside)
    word ^= tl.load(e + at, mask=inside) ^ tl.load(f + at, mask=inside)
    if COUNT == 8:
        word ^= tl.load(g + at, mask=inside) ^ tl.load(h + at, mask=inside)
    tl.store(out + at, word, mask=inside)


def exclusive_or(tensors: list[Tensor]) -> Tensor:
    """The xor of 6 or 8 contiguous bf16 tensors, as 32-bit words."""
    words = [tensor.view(-1).view(torch.int32) for tensor in tensors]
    out = torch.empty_like(words[0])
    padded = words + words[:1] * (8 - len(words))
    grid = (triton.cdiv(out.numel(), 2048),)
    _kernel[grid](*padded, out, out.numel(), len(words), 2048, num_warps=8)
    return out
