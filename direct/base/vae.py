"""Stage 1: a small genuine `AutoencoderKLWan`, on renders of the pretraining corpus.

Short windows first, whole clips last: a clip costs as much as its frames, and single objects and
colours are learned as well on five frames as on seventeen.
"""

from __future__ import annotations

import copy
import itertools
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import unpatchify
from scipy.ndimage import maximum_filter
from torch import Tensor

from ..common.files import write_json
from ..common.ranks import rank
from ..common.seed import stable_seed
from ..world.corpus import corpus
from ..world.render import stage
from .optimize import Optimizers, ema

# Patches of 2 x 2 pixels as channels, as in Wan 2.2: on 2 cores 2.3 times as many clips a second as
# convolutions over single pixels. Widths are multiples of 16, the lanes of AVX-512.
CONFIG: dict[str, Any] = {
    "base_dim": 16,
    "z_dim": 32,
    "dim_mult": [1, 2, 4],
    "num_res_blocks": 1,
    "temperal_downsample": [True, True],
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "scale_factor_temporal": 4,
    "scale_factor_spatial": 8,
}
OBJECT_WEIGHT = 8.0  # pixels that differ from the empty stage are few, and all that matters
KL_WEIGHT = 2e-5
EMA = 0.998


def build(seed: int, **changes: object) -> AutoencoderKLWan:
    """An untrained VAE whose latents are not yet normalised."""
    torch.manual_seed(seed)
    channels = CONFIG["z_dim"]
    moments = {"latents_mean": [0.0] * channels, "latents_std": [1.0] * channels}
    vae = AutoencoderKLWan(**{**CONFIG, **moments, **changes})
    with torch.no_grad():  # a posterior as wide as its prior would teach the decoder noise first
        vae.quant_conv.bias[channels:] -= 6.0
    return vae


def decode(vae: AutoencoderKLWan, z: Tensor) -> Tensor:
    """`vae.decode` without its clamp to [-1, 1], which has no gradient outside. [B, 3, T, H, W]."""
    vae.clear_cache()
    x, frames = vae.post_quant_conv(z), []
    for i in range(z.shape[2]):
        vae._conv_idx = [0]
        frames.append(
            vae.decoder(
                x[:, :, i : i + 1],
                feat_cache=vae._feat_map,
                feat_idx=vae._conv_idx,
                first_chunk=i == 0,
            )
        )
    vae.clear_cache()
    return unpatchify(torch.cat(frames, dim=2), vae.config.patch_size)


def windows(seed: int, frames: int, batch: int, margin: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches of video [B, 3, T, H, W] in [-1, 1] and object weights [B, 1, T, H, W].

    margin: px around an object that weigh as much as the object.
    """
    rng = np.random.default_rng(stable_seed("windows", seed, frames))
    block = 0
    while True:
        clips = corpus("pretraining", 512, seed=stable_seed(seed, block))
        block += 1
        for start in range(0, len(clips) - batch + 1, batch):
            videos, weights = [], []
            for clip in clips[start : start + batch]:
                video = clip.video()
                first = int(rng.integers(0, len(video) - frames + 1))
                video = video[first : first + frames].astype(np.float32) / 127.5 - 1
                empty = stage(clip.shown or clip.record).astype(np.float32) * 2 - 1
                videos.append(video)
                objects = abs(video - empty).max(-1) > 0.1
                around = maximum_filter(objects, (1, 2 * margin + 1, 2 * margin + 1))
                weights.append(1 + OBJECT_WEIGHT * around)
            x = torch.from_numpy(np.stack(videos)).permute(0, 4, 1, 2, 3).contiguous()
            yield x, torch.from_numpy(np.stack(weights)).float()[:, None]


def train(
    vae: AutoencoderKLWan,
    plan: list[tuple[int, int, int]],
    rate: float,
    seed: int,
    out: Path,
    margin: int = 0,
) -> AutoencoderKLWan:
    """Trains through `plan`, stages of (frames, clips per process, steps); returns the average.

    Only parameters that require grad are trained. The rate warms up over 50 steps and falls by a
    cosine over the whole plan. Every process of a torch.distributed group draws its own clips.
    """
    average = copy.deepcopy(vae).requires_grad_(False)
    optimizers = Optimizers(kernels(vae), vae.parameters(), rate)
    total, step, begin = sum(steps for *_, steps in plan), 0, time.monotonic()
    running = math.nan
    for frames, batch, steps in plan:
        clips = windows(stable_seed(seed, rank()), frames, batch, margin)
        for x, weight in itertools.islice(clips, steps):
            cosine = 0.5 * (1 + math.cos(math.pi * step / total))
            loss, y = reconstruction_loss(vae, x, weight)
            loss.backward()
            optimizers.step(min(1, (step + 1) / 50) * (0.02 + 0.98 * cosine))
            step += 1
            running = loss.item() if step == 1 else 0.99 * running + 0.01 * loss.item()
            ema(average, vae, min(EMA, step / (step + 20)))
            if step % 50 == 0 and rank() == 0:
                objects = weight.expand_as(x) > 1
                error = (y - x)[objects].square().mean().item()
                print(
                    f"vae {(time.monotonic() - begin) / 60:5.1f} min, step {step} of {total}, "
                    f"{frames} frames, loss {running:.4f}, object mse {error:.4f}",
                    flush=True,
                )
            if step % 500 == 0 and rank() == 0:
                average.save_pretrained(out)
    if rank() == 0:
        average.save_pretrained(out)
        write_json(out / "loss.json", running)
    return average


def reconstruction_loss(vae: AutoencoderKLWan, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted squared and absolute error plus a small KL term; and the reconstruction."""
    posterior = vae.encode(x).latent_dist
    y = decode(vae, posterior.sample())
    error = (weight * (y - x) ** 2).mean() + 0.1 * (weight * (y - x).abs()).mean()
    return error + KL_WEIGHT * posterior.kl().mean() / posterior.mean[0].numel(), y


def kernels(vae: AutoencoderKLWan) -> list[Tensor]:
    """The trained convolutions between the first and the last: what Muon updates."""
    ends = ("conv_in", "conv_out")
    return [
        p
        for name, p in vae.named_parameters()
        if p.requires_grad and p.ndim >= 4 and not any(end in name for end in ends)
    ]
