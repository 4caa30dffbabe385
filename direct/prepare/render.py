"""Rendering hard negatives (Eq. 4): what the base model makes of perturbed prompts, as latents.

This is the method's real cost: at the paper's scale 33,897 clips of 85 s each, 800 GPU-hours. So
only prompts that a run will draw are rendered; embeddings are cached first, and then the
transformer is alone in memory: no text encoder, and no VAE, since nothing is decoded.

`config.render` has ways to make it cheaper. Clips of half the frames are stretched in time to the
number of latents that training has: a negative is contrasted with a clip latent by latent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .. import sampling
from ..common.errors import UserError
from ..common.files import digest, read_json, write_json
from ..common.progress import silent
from ..config import Config, Model, Render, Run
from ..identity import stored
from ..models import codec, experts, pipeline, schedule
from ..models.block_cache import first_block_cache
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
        rendered(run.config)
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
    _, size = _sizes(config)
    text = texts(run, [*prompts, config.hard_sample.negative_prompt])
    made: list[Tensor | str] = []
    computed: dict[str, float] = {}
    for chosen, valid in codec.batches(len(prompts), size):
        asked = [prompts[i] for i in chosen]
        latents, share = _sampled(config, asked, text)
        computed |= {text_key(prompt): share for prompt in asked}
        latents = _stretched(latents, config).to(getattr(torch, config.model.dtype)).cpu()
        for prompt, z in zip(asked[:valid], latents, strict=False):
            finite = z.isfinite().all()
            made.append(z.clone() if finite else f"{prompt!r} gave latents that are not finite")
    if config.render.cache:  # before the latents: whoever finds these finds this
        write_json(_computed_folder(run) / f"{digest(sorted(computed))}.json", computed)
    return made


def _sampled(config: Config, prompts: list[str], text: Lookup) -> tuple[Tensor, float]:
    """One batch's latents [B, C, T, H, W], of the frames that are rendered, and `computed`'s share.

    Sizes and settings apart, a prompt's noise is its own.
    """
    model, settings = rendered(config), config.hard_sample
    shape, _ = _sizes(config)
    names = [codec.clean(prompt) for prompt in prompts]
    eps = sampling.initial_noise(0, names, shape, sampling.HARD).to(pipeline.device())
    base, advance = _base(config.model), sampling.euler
    if config.render.solver == "unipc":
        levels, advance = schedule.unipc(settings.steps, settings.shift)
    else:
        levels = pipeline.noise_levels(model, settings)

    def sampled() -> Tensor:
        prompt, negative = text(prompts), text([settings.negative_prompt])
        velocity = pipeline.velocity(model)
        return sampling.sample(
            base, prompt, negative, eps, settings, velocity, levels=levels, advance=advance
        )

    if not config.render.cache:
        return sampled(), 1.0
    with first_block_cache(base, config.render.cache) as passes:
        return sampled(), passes.share


def rendered(config: Config) -> Model:
    """The model at the size that hard negatives are rendered at."""
    model = config.model
    if config.render.frames == "all":
        return model
    if pipeline.latent_frames(model) % 2 == 0:
        raise UserError(
            f"render.frames=half: model.frames={model.frames} are "
            f"{pipeline.latent_frames(model)} latents in time, of which half is no clip's; use a "
            "multiple of twice the VAE's temporal stride, plus one"
        )
    return model.with_half_the_frames()


def _stretched(latents: Tensor, config: Config) -> Tensor:
    """The clip's own number of latents in time, by linear interpolation; both ends stay."""
    frames = pipeline.latent_frames(config.model)
    if latents.shape[2] == frames:
        return latents
    size = [frames, *latents.shape[3:]]
    return functional.interpolate(latents, size, mode="trilinear", align_corners=True)


def passes(run: Run, prompts: Sequence[str]) -> float:
    """Forward passes of the transformer per hard negative, the mean over `prompts` in the cache.

    In passes of a whole clip: one with fewer latents counts by their number, and one that the
    cache of features spared by the blocks that were computed. Guidance takes two a step.
    """
    config = run.config
    model, settings = rendered(config), config.hard_sample
    whole = float(settings.passes)
    whole *= pipeline.latent_frames(model) / pipeline.latent_frames(config.model)
    if not config.render.cache:
        return whole
    known: dict[str, float] = {}
    for path in _computed_folder(run).glob("*.json"):
        known |= read_json(path)
    shares = [known.get(text_key(prompt), math.nan) for prompt in prompts]
    if not all(map(math.isfinite, shares)):
        raise UserError(
            f"{_computed_folder(run)} does not say what every hard negative has cost; delete "
            f"{hard_store(run).folder}, the next run renders them again"
        )
    return whole * sum(shares) / len(shares)


def _computed_folder(run: Run) -> Path:
    """{prompt's key: share of the blocks that its passes computed}, a file per shard."""
    return hard_store(run).folder / "computed"


def release() -> None:
    """Frees the base model: training has its own."""
    _base.cache_clear()


def hard_store(run: Run) -> Store:
    config, model = run.config, run.config.model
    shape = [model.frames, model.height, model.width, model.fps]  # LTX is told the rate
    name = [text_identity(config), shape, stored(config.hard_sample)]
    if config.render != Render():  # a later section: older caches keep their names
        name.append(stored(config.render))
    own = encode.made_by(config, "direct.prepare.render")
    return Store(run.cache / "hard" / digest([*name, *own]))


def _sizes(config: Config) -> tuple[tuple[int, int, int, int], int]:
    """[C, T, H, W] of a rendered clip's latents, and how many of them make a batch."""
    base, own = _base(config.model), replace(config, model=rendered(config))
    shape = pipeline.latent_shape(own, base, pipeline.vae_config(config.model))
    if config.render.cache:  # which compares the mean of a batch: its clips would not be their own
        return shape, 1
    return shape, sampling.batch_size(shape, base.config.patch_size)


@lru_cache(maxsize=1)
def _base(model: Model) -> Any:
    return experts.base(model, getattr(torch, model.dtype))
