"""Clips that a model renders for the world's prompts, for the judge's reference rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from .. import sampling
from ..config import Config
from ..models import codec
from ..models.pipeline import latent_shape, velocity
from .corpus import Clip
from .motion import Array

BATCH = 16


def sampler(transformer: Any, pipeline: Any, config: Config) -> Callable[[Sequence[Clip]], Array]:
    """A function from clips to the videos [N, T, H, W, 3] that the model makes of them."""

    def render(clips: Sequence[Clip]) -> Array:
        length = config.model.text_length
        prompts, _ = codec.encode_prompts(pipeline, [clip.caption for clip in clips], length)
        negative, _ = codec.encode_prompts(pipeline, [config.sample.negative_prompt], length)
        shape = latent_shape(config, transformer, pipeline.vae.config)
        noise = sampling.initial_noise(
            config.seed, [clip.id for clip in clips], shape, sampling.EVALUATION
        )
        latents = [
            sampling.sample(
                transformer,
                prompts[k : k + BATCH],
                negative,
                noise[k : k + BATCH],
                config.sample,
                velocity(config.model),
            )
            for k in range(0, len(clips), BATCH)
        ]
        return codec.decode_latents(pipeline, torch.cat(latents))

    return render


def untrained(pipeline: Any) -> Any:
    """The pipeline's transformer with fresh random weights."""
    torch.manual_seed(0)
    return type(pipeline.transformer).from_config(pipeline.transformer.config).eval()


def reconstruct(pipeline: Any, videos: Array) -> Array:
    """uint8 videos [N, T, H, W, 3], encoded and decoded by the pipeline's VAE."""
    parts = [videos[k : k + BATCH] for k in range(0, len(videos), BATCH)]
    return np.concatenate(
        [codec.decode_latents(pipeline, codec.encode_videos(pipeline, part)) for part in parts]
    )
