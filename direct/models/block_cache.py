"""Features kept between steps of sampling: diffusers' FirstBlockCache, and what it computes.

The cache compares the mean change of a whole batch, so a clip of several would depend on the
others: give it one clip at a time, its two branches of guidance together.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass
class Passes:
    """Forward passes of a transformer of `layers` blocks."""

    layers: int
    all: int = 0
    whole: int = 0  # those in which every block was computed

    @property
    def share(self) -> float:
        """Of the blocks that were computed."""
        return (self.whole + (self.all - self.whole) / self.layers) / self.all


@contextmanager
def first_block_cache(transformer: Any, threshold: float) -> Iterator[Passes]:
    """The transformer caches within the block, for one sampling of one clip; what it computed.

    threshold: of the first block's relative change; below it the other blocks are not computed.
    The hooks are created for each clip: diffusers' own reset keeps the last clip's first block.
    """
    from diffusers import FirstBlockCacheConfig

    blocks = next(part for part in transformer.children() if isinstance(part, nn.ModuleList))
    passes = Passes(len(blocks))

    def count(name: str) -> Any:
        return lambda *_: setattr(passes, name, getattr(passes, name) + 1)

    # Inside the blocks: diffusers replaces the blocks' own forward, which a cached pass calls too.
    inside = ((blocks[0], "all"), (blocks[-1], "whole"))
    parts = [(block.get_submodule("attn1"), name) for block, name in inside]
    hooks = [part.register_forward_hook(count(name)) for part, name in parts]
    transformer.enable_cache(FirstBlockCacheConfig(threshold=threshold))
    try:
        with transformer.cache_context("sampling"):
            yield passes
    finally:
        transformer.disable_cache()
        for hook in hooks:
            hook.remove()
