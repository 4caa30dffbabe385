"""Rendering hard negatives (Eq. 4): what the base model makes of perturbed prompts, as latents.

This is the method's real cost: at the paper's scale 33,897 clips of 85 s each, 800 GPU-hours. So
only prompts that a run will draw are rendered; embeddings are cached first, and then the
transformer is alone in memory: no text encoder, and no VAE, since nothing is decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from .. import sampling
from ..common.files import digest
from ..common.progress import silent
from ..config import Config, Model, Run
from ..identity import stored
from ..models import codec, experts, pipeline
from ..models.pipeline import text_identity
from . import encode
from .encode import Lookup, text_key, texts
from .fill import fill
from .store import Store

SHARD = 8  # clips, or one batch: a kill loses so many, which are 11 minutes at the paper's scale


def hard_negatives(run: Run, prompts: Sequence[str]) -> Lookup:
    """prompts -> x_hard [B, C, T, H, W] fp32, never decoded, kept in model.dtype.

    A prompt's latents depend on the prompt, the base model and the sampling settings alone.
    """
    store = hard_store(run)
    wanted = {text_key(prompt): prompt for prompt in prompts}
    if store.missing(wanted):
        experts.check(run.config)
        texts(run, [*prompts, run.config.hard_sample.negative_prompt])
        encode.release()
        _, size = _sizes(run.config)
        shard = size * -(-SHARD // size)
        make = partial(_render, replace(run, progress=silent))  # worker processes have no display
        fill(store, wanted, make, shard, "render", run.progress, run.workers)
    return lambda chosen: store.batch([text_key(prompt) for prompt in chosen]).float()


def _render(run: Run, prompts: list[str]) -> list[Tensor | str]:
    """Latents of each prompt, in batches of one size; the reason, for one that fails."""
    config = run.config
    torch.set_num_threads(config.threads)
    shape, size = _sizes(config)
    negative = config.hard_sample.negative_prompt
    text = texts(run, [*prompts, negative])
    made: list[Tensor | str] = []
    for chosen, valid in codec.batches(len(prompts), size):
        asked = [prompts[i] for i in chosen]
        names = [codec.clean(prompt) for prompt in asked]
        eps = sampling.initial_noise(0, names, shape, sampling.HARD).to(pipeline.device())
        latents = (
            sampling.sample(
                _base(config.model),
                text(asked),
                text([negative]),
                eps,
                config.hard_sample,
                pipeline.velocity(config.model),
                levels=pipeline.noise_levels(config.model, config.hard_sample),
            )
            .to(getattr(torch, config.model.dtype))
            .cpu()
        )
        for prompt, z in zip(asked[:valid], latents, strict=False):
            finite = z.isfinite().all()
            made.append(z.clone() if finite else f"{prompt!r} gave latents that are not finite")
    return made


def release() -> None:
    """Frees the base model: training has its own."""
    _base.cache_clear()


def hard_store(run: Run) -> Store:
    config, model = run.config, run.config.model
    shape = [model.frames, model.height, model.width, model.fps]  # LTX is told the rate
    name = [text_identity(config), shape, stored(config.hard_sample)]
    own = encode.made_by(config, "direct.prepare.render")
    return Store(run.cache / "hard" / digest([*name, *own]))


def _sizes(config: Config) -> tuple[tuple[int, int, int, int], int]:
    """[C, T, H, W] of one clip's latents, and how many of them make a batch."""
    base = _base(config.model)
    shape = pipeline.latent_shape(config, base, pipeline.vae_config(config.model))
    return shape, sampling.batch_size(shape, base.config.patch_size)


@lru_cache(maxsize=1)
def _base(model: Model) -> Any:
    return experts.base(model, getattr(torch, model.dtype))
