"""LTX-Video: `diffusers.LTXPipeline` and its parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from ...flow import TIMESTEPS

PIPELINE, TRANSFORMER, VAE = "LTXPipeline", "LTXVideoTransformer3DModel", "AutoencoderKLLTXVideo"


def strides(vae_config: Any) -> tuple[int, int]:
    """As `AutoencoderKLLTXVideo` computes its compression ratios."""
    halvings = 2 ** sum(vae_config["spatio_temporal_scaling"])
    temporal = vae_config.get("temporal_compression_ratio") or halvings * vae_config["patch_size_t"]
    spatial = vae_config.get("spatial_compression_ratio") or halvings * vae_config["patch_size"]
    return temporal, spatial


def patch(transformer_config: Any) -> tuple[int, int, int]:
    side = transformer_config["patch_size"]
    return transformer_config["patch_size_t"], side, side


def text_dim(transformer_config: Any) -> int:
    return transformer_config["caption_channels"]


def states(encoder: Any, ids: Tensor, mask: Tensor) -> Tensor:
    """The pipeline's encoder attends to padding as well; the transformer is given the mask."""
    return encoder(ids)[0]


def latent_scale(vae: Any) -> tuple[Tensor, Tensor]:
    return vae.latents_mean.float(), vae.latents_std.float() / vae.config.scaling_factor


def decode(vae: Any, z: Tensor) -> Tensor:
    """A decoder that is conditioned on a noise level is given 0, as the pipeline does."""
    level = z.new_zeros(len(z)) if vae.config.timestep_conditioning else None
    return vae.decode(z, level, return_dict=False)[0]


def points(steps: int) -> np.ndarray:
    return np.linspace(1, 1 / steps, steps)


def velocity(model: Any, vae_config: Any) -> Callable[..., Tensor]:
    """Places are told to the transformer in seconds and pixels: it needs the rate and strides."""
    temporal, spatial = strides(vae_config)
    scale = (temporal / model.fps, spatial, spatial)

    def _velocity(forward: Any, x_t: Tensor, t: Tensor, text: Tensor) -> Tensor:
        frames, height, width = x_t.shape[2:]
        v = forward(
            x_t.flatten(2).transpose(1, 2),  # [B, T H W, C], patches of one latent
            text,
            TIMESTEPS * t,
            text.abs().amax(-1) > 0,  # padding is exact zeros
            num_frames=frames,
            height=height,
            width=width,
            rope_interpolation_scale=scale,
            return_dict=False,
        )[0]
        return v.transpose(1, 2).unflatten(2, (frames, height, width))

    return _velocity
