"""Euler sampling with classifier-free guidance, and the evaluation clips of one cell.

The initial noise of a prompt is a pure function of (seed, prompt id), so every variant of a seed
starts from the same noise and differences between variants are paired.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..common.errors import UserError
from ..common.files import digest, load_arrays, save_arrays
from ..config import Run
from ..data import source
from ..models import codec, experts, pipeline
from ..prepare import means
from ..prepare.encode import texts
from ..prepare.store import Store
from ..sampling import EVALUATION, batch_size, initial_noise, sample


def generate(run: Run) -> Path:
    """Renders the evaluation prompts with the run's transformer: `run/samples.safetensors`.

    Its tensor `latents` is [P, C, T, H, W] fp32, in the prompts' order. Finished batches survive a
    kill. `train.steps == 0` renders with the base model.
    """
    config, path = run.config, run.folder / "samples.safetensors"
    if load_arrays(path) is not None:
        return path
    torch.set_num_threads(config.threads)
    experts.check(config)
    prompts = source.evaluation_texts(config)
    names = [item.id for item in source.evaluation(config)]
    text = texts(run, [*prompts, config.sample.negative_prompt])
    x_ref = means.references(run, prompts)
    transformer = _transformer(run)
    parts = Store(run.folder / "samples.parts")
    keys = [digest(name) for name in names]
    shape = pipeline.latent_shape(config, transformer, pipeline.vae_config(config.model))
    size = batch_size(shape, transformer.config.patch_size)
    for chosen, valid in codec.batches(len(names), size):
        done = int(chosen[0]) + valid
        if parts.missing([keys[i] for i in chosen]):
            eps = initial_noise(config.seed, [names[i] for i in chosen], shape, EVALUATION)
            latents = sample(
                transformer,
                text([prompts[i] for i in chosen]),
                text([config.sample.negative_prompt]),
                eps.to(pipeline.device()),
                config.sample,
                pipeline.velocity(config.model),
                x_ref if x_ref is None or len(x_ref) == 1 else x_ref[torch.from_numpy(chosen)],
                pipeline.noise_levels(config.model, config.sample),
            ).cpu()
            parts.write({keys[i]: z for i, z in zip(chosen[:valid], latents, strict=False)})
        run.progress("generate", done, len(names))
    parts.refresh()
    save_arrays(path, {"latents": parts.batch(keys)})
    parts.remove()
    return path


def _transformer(run: Run) -> Any:
    config = run.config
    dtype = getattr(torch, config.model.dtype)
    if config.train.steps == 0:
        return experts.base(config.model, dtype)
    trained = run.folder / "transformer"
    if not trained.is_dir():
        raise UserError(f"{trained} is missing; train this cell first")
    return experts.whole(config, pipeline.load_transformer(trained, dtype=dtype))
