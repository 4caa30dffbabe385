"""What a pipeline computes: prompts to text states, clips to latents, latents to clips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..common.errors import UserError
from . import families

TEXT_BATCH = 32
VIDEO_BATCH = 8  # clips in one pass of the VAE, at most; of the paper's size one
VIDEO_PIXELS = 2**25  # in one pass


def clean(prompt: str) -> str:
    """The pipeline's own prompt cleaning, for training, negatives and generation alike."""
    from diffusers.pipelines.wan.pipeline_wan import prompt_clean

    return prompt_clean(prompt)


@torch.no_grad()
def encode_prompts(pipeline: Any, prompts: Sequence[str], length: int) -> tuple[Tensor, Tensor]:
    """Embeddings [N, length, D] in the encoder's dtype, zero beyond each prompt; lengths [N] int64.

    A prompt of more than `length` tokens (end token included) is a `UserError`, never cut.
    """
    if not prompts:
        raise UserError("encode_prompts was given no prompt; give at least one")
    family, embeddings, lengths = _family_of(pipeline), [], []
    for chosen, valid in batches(len(prompts), TEXT_BATCH):
        tokens = _tokenize(pipeline.tokenizer, [prompts[i] for i in chosen], length)
        mask = tokens.attention_mask.to(pipeline.text_encoder.device)
        ids = tokens.input_ids.to(pipeline.text_encoder.device)
        states = family.states(pipeline.text_encoder, ids, mask)
        kept = torch.where(mask[..., None].bool(), states, torch.zeros_like(states))
        embeddings.append(kept[:valid].cpu())
        lengths.append(mask.sum(1)[:valid].cpu())
    return torch.cat(embeddings), torch.cat(lengths)


@torch.no_grad()
def encode_videos(pipeline: Any, videos: np.ndarray) -> Tensor:
    """uint8 [N, T, H, W, 3] to normalised latents [N, C, T', H', W'] fp32, (mode - mean) / std.

    Deterministic (the posterior's mode), as Wan's own code, DiffSynth and FastVideo have it.
    """
    mean, std = _latent_scale(pipeline)
    latents = []
    for chosen, valid in batches(len(videos), _video_batch(videos[0, ..., 0].size)):
        pixels = torch.from_numpy(np.ascontiguousarray(videos[chosen])).to(pipeline.vae.device)
        pixels = pixels.permute(0, 4, 1, 2, 3).float() / 127.5 - 1  # [n, 3, T, H, W] in [-1, 1]
        mode = pipeline.vae.encode(pixels).latent_dist.mode()
        latents.append(((mode - mean) / std)[:valid].cpu())
    return torch.cat(latents)


@torch.no_grad()
def decode_latents(pipeline: Any, latents: Tensor) -> np.ndarray:
    """Normalised latents [N, C, T', H', W'] to uint8 videos [N, T, H, W, 3]."""
    mean, std = _latent_scale(pipeline)
    family, videos = _family_of(pipeline), []
    temporal, spatial = family.strides(pipeline.vae.config)
    size = _video_batch(temporal * spatial**2 * latents[0, 0].numel())
    for chosen, valid in batches(len(latents), size):
        scaled = (
            latents[torch.from_numpy(chosen)].to(pipeline.vae.device, torch.float32) * std + mean
        )
        pixels = family.decode(pipeline.vae, scaled)[:valid]
        pixels = ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        videos.append(pixels.permute(0, 2, 3, 4, 1).cpu().numpy())
    return np.concatenate(videos)


def batches(count: int, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """(indices [size], how many of them count): batches of one fixed shape, the last one filled up.

    Kernels choose their order of summation by shape: with one shape, what is computed for an item
    does not depend on how many others are computed beside it.
    """
    for start in range(0, count, size):
        chosen = np.arange(start, start + size)
        yield np.minimum(chosen, count - 1), min(size, count - start)


def _video_batch(pixels: int) -> int:
    """Clips of so many pixels per pass: a function of the size alone, as `batches` needs."""
    return max(1, min(VIDEO_BATCH, VIDEO_PIXELS // pixels))


def _tokenize(tokenizer: Any, prompts: list[str], length: int) -> Any:
    prompts = [clean(prompt) for prompt in prompts]
    for prompt, ids in zip(
        prompts, tokenizer(prompts, add_special_tokens=True).input_ids, strict=True
    ):
        if len(ids) > length:
            raise UserError(
                f"the prompt {prompt[:60]!r}... has {len(ids)} tokens, more than "
                f"model.text_length={length}; shorten the prompt or raise model.text_length"
            )
    return tokenizer(
        prompts,
        padding="max_length",
        max_length=length,
        add_special_tokens=True,
        return_attention_mask=True,
        return_tensors="pt",
    )


def _latent_scale(pipeline: Any) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation per latent channel, [1, C, 1, 1, 1] fp32."""
    device = pipeline.vae.device
    mean, std = _family_of(pipeline).latent_scale(pipeline.vae)
    return mean.to(device).view(1, -1, 1, 1, 1), std.to(device).view(1, -1, 1, 1, 1)


def _family_of(pipeline: Any) -> Any:
    return families.of(type(pipeline).__name__)
