"""Euler sampling with classifier-free guidance, and the evaluation clips of one cell.

The initial noise of a prompt is a pure function of (seed, prompt id), so every variant of a seed
starts from the same noise and differences between variants are paired.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import families, flow, models, noise
from .config import Config, Sample
from .data import source
from .data.cache import Store
from .data.encode import texts
from .errors import UserError
from .families import wan
from .files import digest, load_arrays, save_arrays, stable_seed
from .progress import Progress

TRAINING, EVALUATION, HARD = 0, 1, 2  # streams of `noise.keys`: uses of noise that never coincide

TOKENS = 32_768  # of the transformer per forward pass, about: one clip of the paper's size


@torch.no_grad()
def sample(
    transformer: Any,
    prompt: Tensor,
    negative: Tensor,
    noise: Tensor,
    settings: Sample,
    velocity: Callable[..., Tensor] | None = None,
) -> Tensor:
    """Latents [B, C, T, H, W] fp32 from noise of that shape: Euler steps of dx = v dt, from t = 1.

    prompt [B, L, D], negative [1, L, D]: text embeddings. With guidance g > 1 the velocity is
    v_neg + g (v - v_neg), both in one forward pass. The state stays fp32; what the transformer is
    given is cast to its dtype. velocity: `models.velocity`'s, of Wan if none is given. Equals the
    family's own pipeline with the same noise levels.
    """
    velocity = velocity or wan.velocity(None, None)
    x = noise.float()
    guided = settings.guidance > 1
    text = prompt.to(x.device, transformer.dtype)
    if guided:
        text = torch.cat([text, negative.to(text).expand_as(text)])
    grid = flow.sampling_grid(settings.steps, settings.shift)
    levels = torch.from_numpy(grid).float().to(x.device)
    for t, t_next in itertools.pairwise(levels):
        x_in = (torch.cat([x, x]) if guided else x).to(transformer.dtype)
        v = velocity(transformer, x_in, t.expand(len(x_in)), text).float()
        if guided:
            v, v_neg = v.chunk(2)
            v = v_neg + settings.guidance * (v - v_neg)
        x = x + (t_next - t) * v
    return x


def batch_size(shape: Sequence[int], patch: Sequence[int] | int) -> int:
    """Clips of latent shape [C, T, H, W] per forward pass, at most 16: a function of the sizes."""
    tokens = math.prod(shape[1:]) // (patch if isinstance(patch, int) else math.prod(patch))
    return max(1, min(16, TOKENS // tokens))


def latent_shape(config: Config, transformer: Any, vae_config: Any) -> tuple[int, int, int, int]:
    """[C, T, H, W] of one clip; sizes that the VAE or patches do not divide are a `UserError`."""
    model, family = config.model, families.of(type(transformer).__name__)
    patch, (temporal, spatial) = family.patch(transformer.config), family.strides(vae_config)
    if (model.frames - 1) % temporal:
        raise UserError(f"model.frames={model.frames} must be a multiple of {temporal}, plus one")
    for name, stride in (("height", spatial * patch[1]), ("width", spatial * patch[2])):
        if getattr(model, name) % stride:
            raise UserError(f"model.{name}={getattr(model, name)} must be a multiple of {stride}")
    frames = (model.frames - 1) // temporal + 1
    return transformer.config.in_channels, frames, model.height // spatial, model.width // spatial


def initial_noise(seed: int, names: Sequence[str], shape: Sequence[int], stream: int) -> Tensor:
    """[len(names), *shape] fp32: each name's own noise, whatever else is drawn beside it."""
    key = noise.keys(seed, 0, [stable_seed(name) for name in names], stream)
    return noise.normal(key, (len(names), *shape))


def generate(config: Config, *, cache: Path, run: Path, progress: Progress | None = None) -> Path:
    """Renders the evaluation prompts with the run's transformer: `run/samples.safetensors`.

    Its tensor `latents` is [P, C, T, H, W] fp32, in the prompts' order. Finished batches survive a
    kill. `train.steps == 0` renders with the base model.
    """
    path = Path(run) / "samples.safetensors"
    if load_arrays(path) is not None:
        return path
    from .evaluate import captions  # the room that calls this one

    torch.set_num_threads(config.threads)
    prompts = captions.of_evaluation(config)
    names = [item.id for item in source.evaluation(config)]
    text = texts(config, cache, [*prompts, config.sample.negative_prompt], progress)
    transformer = _transformer(config, Path(run))
    parts = Store(Path(run) / "samples.parts")
    keys = [digest(name) for name in names]
    shape = latent_shape(config, transformer, models.vae_config(config.model))
    size = batch_size(shape, transformer.config.patch_size)
    for chosen, valid in models.batches(len(names), size):
        done = int(chosen[0]) + valid
        if parts.missing([keys[i] for i in chosen]):
            eps = initial_noise(config.seed, [names[i] for i in chosen], shape, EVALUATION)
            latents = sample(
                transformer,
                text([prompts[i] for i in chosen]),
                text([config.sample.negative_prompt]),
                eps.to(models.device()),
                config.sample,
                models.velocity(config.model),
            ).cpu()
            parts.write({keys[i]: z for i, z in zip(chosen[:valid], latents, strict=False)})
        if progress:
            progress("generate", done, len(names))
    parts.refresh()
    save_arrays(path, {"latents": parts.batch(keys)})
    parts.remove()
    return path


def _transformer(config: Config, run: Path) -> Any:
    dtype = getattr(torch, config.model.dtype)
    if config.train.steps == 0:
        return models.load_transformer(config.model.pipeline, dtype)
    if not (run / "transformer").is_dir():
        raise UserError(f"{run / 'transformer'} is missing; train this cell first")
    return models.load_transformer(run / "transformer", dtype=dtype)
