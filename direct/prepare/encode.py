"""What the frozen pipeline makes of prompts and clips, cached: embeddings, pools, latents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..common.errors import UserError
from ..common.files import digest
from ..common.fingerprint import code
from ..common.progress import Progress, silent
from ..config import Config, Model, Run
from ..data import source
from ..data.caption_length import surely_fits
from ..data.decode import Unreadable
from ..data.sample import Sample
from ..models import codec
from ..models.pipeline import identity, load_pipeline, text_identity
from ..negatives.macro import pool
from .fill import fill
from .store import Store

Indices = Sequence[int] | np.ndarray
Lookup = Callable[[Sequence[str]], Tensor]

SHARD = 128  # clips or prompts per shard of the cache: half a GB of the paper's clips
PARTS = ("transformer", "text_encoder", "vae")


def texts(run: Run, prompts: Sequence[str], clips: Sequence[Sample] = ()) -> Lookup:
    """prompts -> embeddings [B, text_length, D]; cached without their padding.

    A prompt that the encoder does not take whole is a `UserError`, which names its clip of `clips`.
    """
    store, length = text_store(run), run.config.model.text_length
    key = lru_cache(maxsize=None)(text_key)
    wanted = {key(prompt): prompt for prompt in prompts}
    check_lengths(run.config, [clip for clip in clips if store.missing([key(clip.prompt)])])
    fill(store, wanted, partial(_embed, run.config), SHARD, "text", run.progress, run.workers)

    def lookup(wanted: Sequence[str]) -> Tensor:
        trimmed = [store[key(prompt)] for prompt in wanted]
        return torch.stack([F.pad(e, (0, 0, 0, length - len(e))) for e in trimmed])

    return lookup


def _embed(config: Config, prompts: list[str]) -> list[Tensor]:
    torch.set_num_threads(config.threads)
    pipeline = _part(config.model, "text_encoder")
    embeddings, lengths = codec.encode_prompts(pipeline, prompts, config.model.text_length)
    return [e[:n] for e, n in zip(embeddings, lengths, strict=True)]


def clip_latents(run: Run, samples: Sequence[Sample]) -> Callable[[Indices], Tensor]:
    """sample indices -> deterministic latents x [B, C, T, H, W] fp32, kept in model.dtype."""
    store = latent_store(run)
    keys = [clip_key(sample) for sample in samples]
    wanted = {key: index for index, key in enumerate(keys)}
    make = partial(_encode, replace(run, progress=silent))  # worker processes have no display
    fill(store, wanted, make, SHARD, "latents", run.progress, run.workers)
    return lambda indices: store.batch([keys[i] for i in indices]).float()


def _encode(run: Run, indices: list[int]) -> list[Tensor | str]:
    """Latents of training clips; the reason, for one that cannot be read."""
    config = run.config
    torch.set_num_threads(config.threads)
    samples = source.training(run)
    dtype = getattr(torch, config.model.dtype)
    made: dict[int, Tensor | str] = {}
    for start in range(0, len(indices), codec.VIDEO_BATCH):
        videos = {}
        for index in indices[start : start + codec.VIDEO_BATCH]:
            try:
                videos[index] = samples[index].video()
            except Unreadable as fault:
                again = "; run again to try it again" if fault.passing else ""
                made[index] = f"clip {samples[index].id}: {fault}{again}"
        if videos:
            pipeline = _part(config.model, "vae")
            latents = codec.encode_videos(pipeline, np.stack(list(videos.values())))
            made |= {index: z.to(dtype) for index, z in zip(videos, latents, strict=True)}
    return [made[index] for index in indices]


def made_by(config: Config, module: str) -> list[str]:
    """The code that makes a cached value, as a part of the value's name; on the small world alone.

    There making a value again takes seconds. At the paper's scale an edit must not orphan weeks of
    rendering: docs/scale.md says what to delete.
    """
    return [code(module)] if config.data.source == "world" else []


def text_store(run: Run) -> Store:
    name = [*text_identity(run.config), *made_by(run.config, "direct.models.codec")]
    return Store(run.cache / "text" / digest(name))


def latent_store(run: Run) -> Store:
    model = run.config.model
    size = [model.frames, model.height, model.width, model.dtype]
    name = [identity(model), size, source.identity(run.config)]
    own = made_by(run.config, "direct.models.codec")
    return Store(run.cache / "latents" / digest([*name, *own]))


def clip_key(sample: Sample) -> str:
    return digest(sample.content or [sample.id, sample.prompt], 24)


def pooled(run: Run, prompts: Sequence[str]) -> np.ndarray:
    """z_y of each prompt, [N, D] float64."""
    text = texts(run, prompts)
    z = []
    for start in range(0, len(prompts), SHARD):
        embeddings = text(prompts[start : start + SHARD])
        lengths = embeddings.abs().sum(-1).count_nonzero(1)  # padding is exact zeros
        z.append(pool(embeddings, lengths).double().numpy())
    return np.concatenate(z)


def pool_once(config: Config, prompts: Sequence[str], progress: Progress = silent) -> np.ndarray:
    """z of prompts whose embeddings are not worth keeping, [N, D] float64."""
    z = [np.empty((0, 1))] if not prompts else []
    for start in range(0, len(prompts), SHARD):
        chosen = prompts[start : start + SHARD]
        pipeline = _part(config.model, "text_encoder")
        embeddings, lengths = codec.encode_prompts(pipeline, chosen, config.model.text_length)
        z.append(pool(embeddings, lengths).double().numpy())
        progress("perturb", min(start + SHARD, len(prompts)), len(prompts))
    return np.concatenate(z)


def fits(config: Config, prompt: str) -> bool:
    """Whether the text encoder takes the prompt whole. Weights are not read for it."""
    cleaned, most = codec.clean(prompt), config.model.text_length
    return surely_fits(cleaned, most) or len(_tokenizer(config.model)(cleaned).input_ids) <= most


def check_lengths(config: Config, clips: Sequence[Sample]) -> None:
    """A caption that the text encoder does not take whole is a `UserError` that names its clip."""
    long = [clip.id for clip in clips if not fits(config, clip.prompt)]
    if long:
        raise UserError(
            f"clip {long[0]} has a caption of more than model.text_length="
            f"{config.model.text_length} tokens, as have {len(long)} of {len(clips)}; curate with "
            "--set data.long_captions=drop or truncate, or raise model.text_length"
        )


def text_key(prompt: str) -> str:
    return digest(codec.clean(prompt), 24)


def release() -> None:
    """Frees the text encoder or VAE: rendering and training need neither."""
    _part.cache_clear()


@lru_cache(maxsize=1)
def _tokenizer(model: Model) -> Any:
    return load_pipeline(model.pipeline, without=PARTS).tokenizer


@lru_cache(maxsize=1)
def _part(model: Model, name: str) -> Any:
    """A pipeline of this part alone: at the paper's scale the text encoder takes 11 GB."""
    without = [part for part in PARTS if part != name]
    return load_pipeline(model.pipeline, getattr(torch, model.dtype), without)
