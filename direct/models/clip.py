"""One clip of one prompt: what `direct.generate` writes, and what a training that is watched shows.

In two halves, so that the transformer can go before the VAE decodes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from ..config import Config, Model
from ..sampling import EVALUATION, initial_noise, sample
from . import codec, pipeline


def latents(
    config: Config,
    transformer: Any,
    text: Tensor,
    name: str,
    seed: int,
    x_ref: Tensor | None = None,
) -> Tensor:
    """[1, C, T, H, W] fp32 on the CPU, by the configuration's sampler.

    text [2, L, D]: of the prompt and of the negative prompt. name, seed: of the initial noise; for
    an evaluation prompt its id and the run's seed give the noise of the clip that is judged.
    """
    shape = pipeline.latent_shape(config, transformer, pipeline.vae_config(config.model))
    eps = initial_noise(seed, [name], shape, EVALUATION).to(pipeline.device())
    velocity, text = pipeline.velocity(config.model), text.float()
    levels = pipeline.noise_levels(config.model, config.sample)
    prompts = text[:1], text[1:]
    return sample(transformer, *prompts, eps, config.sample, velocity, x_ref, levels=levels).cpu()


def decoded(model: Model, latents: Tensor) -> np.ndarray:
    """Latents [1, C, T', H', W'] to uint8 [T, H, W, 3]."""
    vae = pipeline.load_pipeline(model.pipeline, without=("transformer", "text_encoder"))
    clip: np.ndarray = codec.decode_latents(vae, latents)[0]
    return clip
