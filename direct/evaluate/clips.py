"""Euler sampling with classifier-free guidance, and the evaluation clips of one cell.

The initial noise of a prompt is a pure function of (seed, prompt id), so every variant of a seed
starts from the same noise and differences between variants are paired.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..common import ranks
from ..common.errors import UserError
from ..common.files import digest, load_arrays, save_arrays
from ..config import Run
from ..data import source
from ..models import experts, pipeline
from ..prepare import means
from ..prepare.encode import texts
from ..prepare.fill import fill
from ..prepare.store import Store
from ..sampling import EVALUATION, batch_size, initial_noise, sample


def generate(run: Run) -> Path:
    """Renders the evaluation prompts with the run's transformer: `run/samples.safetensors`.

    Its tensor `latents` is [P, C, T, H, W] fp32, in the prompts' order. Every rank calls it and
    takes batches that no other has claimed; a batch is the same whoever renders it. Finished
    batches survive a kill. `train.steps == 0` renders with the base model.
    """
    config, path = run.config, run.folder / "samples.safetensors"
    if ranks.on_first(lambda: load_arrays(path) is not None):
        return path
    torch.set_num_threads(config.threads)
    experts.check(config)
    prompts = source.evaluation_texts(config)
    names = [item.id for item in source.evaluation(config)]
    negative = config.sample.negative_prompt
    text = ranks.after_first(lambda: texts(run, [*prompts, negative]))
    x_ref = ranks.after_first(lambda: means.references(run, prompts))
    keys = [digest(name) for name in names]
    parts = Store(run.folder / "samples.parts")
    with ranks.together():
        transformer = _transformer(run)
        shape = pipeline.latent_shape(config, transformer, pipeline.vae_config(config.model))
        size = batch_size(shape, transformer.config.patch_size)
        velocity = pipeline.velocity(config.model)
        levels = pipeline.noise_levels(config.model, config.sample)

        def render(chosen: list[int]) -> list[Tensor]:
            """Latents of these prompts, in a batch of the one size, filled up (`codec.batches`)."""
            full = np.array(chosen + chosen[-1:] * (size - len(chosen)))
            eps = initial_noise(config.seed, [names[i] for i in full], shape, EVALUATION)
            latents = sample(
                transformer,
                text([prompts[i] for i in full]),
                text([negative]),
                eps.to(pipeline.device()),
                config.sample,
                velocity,
                x_ref if x_ref is None or len(x_ref) == 1 else x_ref[torch.from_numpy(full)],
                levels,
            ).cpu()
            return list(latents[: len(chosen)])

        fill(parts, {key: i for i, key in enumerate(keys)}, render, size, "generate", run.progress)

    def publish() -> None:
        parts.refresh()
        save_arrays(path, {"latents": parts.batch(keys)})
        parts.remove()

    ranks.on_first(publish)
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
