"""Wan 2.1 and Wan 2.2 from text: `diffusers.WanPipeline` and its parts.

Wan 2.2's A14B has two experts, `transformer` and `transformer_2` (`models.experts`). With
`expand_timesteps` (its TI2V-5B) the pipeline gives its transformer a time for each token. From text
alone all of them are the clip's own, which is what one time per clip computes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...flow import TIMESTEPS

KNOWN = ("expand_timesteps", "transformer_2", "boundary_ratio")
PIPELINE, TRANSFORMER, VAE = "WanPipeline", "WanTransformer3DModel", "AutoencoderKLWan"


def strides(vae_config: Any) -> tuple[int, int]:
    return vae_config["scale_factor_temporal"], vae_config["scale_factor_spatial"]


def patch(transformer_config: Any) -> tuple[int, int, int]:
    t, h, w = transformer_config["patch_size"]
    return t, h, w


def text_dim(transformer_config: Any) -> int:
    return transformer_config["text_dim"]


def states(encoder: Any, ids: Tensor, mask: Tensor) -> Tensor:
    return encoder(ids, mask).last_hidden_state


def latent_scale(vae: Any) -> tuple[Tensor, Tensor]:
    return torch.tensor(vae.config.latents_mean), torch.tensor(vae.config.latents_std)


def decode(vae: Any, z: Tensor) -> Tensor:
    return vae.decode(z, return_dict=False)[0]


def points(steps: int) -> None:
    """The pipeline takes its scheduler's own."""


def velocity(model: Any, vae_config: Any) -> Callable[..., Tensor]:
    return _velocity


def _velocity(forward: Any, x_t: Tensor, t: Tensor, text: Tensor) -> Tensor:
    """Cross-attention takes the zeros at padding as they are, as Wan was trained."""
    return forward(x_t, TIMESTEPS * t, text, return_dict=False)[0]
