"""What the frozen pipeline makes of prompts and clips, cached: embeddings, pools, latents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .. import models
from ..config import Config, Model
from ..files import digest
from ..negatives.macro import pool
from . import source
from .cache import Store, lock
from .source import Sample

Progress = Callable[[str, int, int], None]
Indices = Sequence[int] | np.ndarray
Lookup = Callable[[Sequence[str]], Tensor]

SHARD = 128  # clips or prompts per shard of the cache


def texts(
    config: Config, cache: Path, prompts: Sequence[str], progress: Progress | None = None
) -> Lookup:
    """prompts -> embeddings [B, text_length, D]; cached without their padding."""
    model, length = config.model, config.model.text_length
    store = Store(cache / "text" / digest(text_identity(config)))
    key = lru_cache(maxsize=None)(text_key)

    def make(chosen: list[str]) -> dict[str, Tensor]:
        embeddings, lengths = models.encode_prompts(_pipeline(model), chosen, length)
        return {key(p): e[:n] for p, e, n in zip(chosen, embeddings, lengths, strict=True)}

    _fill(store, {key(prompt): prompt for prompt in prompts}, make, "text", progress)

    def lookup(wanted: Sequence[str]) -> Tensor:
        trimmed = [store[key(prompt)] for prompt in wanted]
        return torch.stack([F.pad(e, (0, 0, 0, length - len(e))) for e in trimmed])

    return lookup


def clip_latents(
    config: Config, cache: Path, samples: Sequence[Sample], progress: Progress | None = None
) -> Callable[[Indices], Tensor]:
    """sample indices -> deterministic latents x [B, C, T, H, W] fp32."""
    model = config.model
    size = [model.frames, model.height, model.width]
    folder = digest([models.identity(model), size, source.identity(config)])
    store = Store(cache / "latents" / folder)
    keys = [digest([item.id, item.prompt], 24) for item in samples]

    def make(chosen: list[Sample]) -> dict[str, Tensor]:
        videos = np.stack([item.video() for item in chosen])
        made = models.encode_videos(_pipeline(model), videos)
        return {digest([c.id, c.prompt], 24): z for c, z in zip(chosen, made, strict=True)}

    _fill(store, dict(zip(keys, samples, strict=True)), make, "latents", progress)
    return lambda indices: torch.stack([store[keys[i]] for i in indices])


def pooled(
    config: Config, cache: Path, prompts: Sequence[str], progress: Progress | None = None
) -> np.ndarray:
    """z_y of each prompt, [N, D] float64."""
    text = texts(config, cache, prompts, progress)
    z = []
    for start in range(0, len(prompts), SHARD):
        embeddings = text(prompts[start : start + SHARD])
        lengths = embeddings.abs().sum(-1).count_nonzero(1)  # padding is exact zeros
        z.append(pool(embeddings, lengths).double().numpy())
    return np.concatenate(z)


def pool_once(
    config: Config, prompts: Sequence[str], progress: Progress | None = None
) -> np.ndarray:
    """z of prompts whose embeddings are not worth keeping, [N, D] float64."""
    z = [np.empty((0, 1))] if not prompts else []
    for start in range(0, len(prompts), SHARD):
        embeddings, lengths = models.encode_prompts(
            _pipeline(config.model), prompts[start : start + SHARD], config.model.text_length
        )
        z.append(pool(embeddings, lengths).double().numpy())
        tell(progress, "perturb", min(start + SHARD, len(prompts)), len(prompts))
    return np.concatenate(z)


def fits(config: Config, prompt: str) -> bool:
    """Whether the text encoder takes the prompt whole."""
    tokens = _pipeline(config.model).tokenizer(models.clean(prompt)).input_ids
    return len(tokens) <= config.model.text_length


def text_key(prompt: str) -> str:
    return digest(models.clean(prompt), 24)


def text_identity(config: Config) -> list[Any]:
    return [models.identity(config.model), config.model.text_length, config.model.dtype]


def tell(progress: Progress | None, stage: str, done: int, total: int) -> None:
    if progress:
        progress(stage, done, total)


def _fill(
    store: Store,
    wanted: dict[str, Any],
    make: Callable[[list[Any]], dict[str, Tensor]],
    stage: str,
    progress: Progress | None,
) -> None:
    """Adds the items of `wanted` (by key) that the store lacks, `SHARD` at a time."""
    if not store.missing(wanted):
        return
    with lock(store.folder / ".lock"):
        store.refresh()  # another process may just have made them
        missing = store.missing(wanted)
        for start in range(0, len(missing), SHARD):
            keys = missing[start : start + SHARD]
            store.write(make([wanted[key] for key in keys]))
            tell(progress, stage, start + len(keys), len(missing))
        store.refresh()


@lru_cache(maxsize=1)
def _pipeline(model: Model) -> Any:
    return models.load_pipeline(model.pipeline, model.revision, getattr(torch, model.dtype))
