"""Stage 3: transformer and text encoder jointly, by flow matching on the pretraining corpus.

The corpus is flawed in stated shares (`direct.world.corpus`), so the base model is: this is what
post-training has to mend.
"""

from __future__ import annotations

import copy
import math
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import WanTransformer3DModel
from torch import Tensor, nn
from transformers import T5Tokenizer, UMT5EncoderModel

from .. import flow
from ..common.files import write_json
from ..common.ranks import rank
from .optimize import Optimizers, ema

CONFIG = {
    "patch_size": (1, 1, 1),
    "num_attention_heads": 4,
    "attention_head_dim": 32,
    "in_channels": 32,
    "out_channels": 32,
    "text_dim": 64,
    "freq_dim": 128,
    "ffn_dim": 512,
    "num_layers": 4,
    "cross_attn_norm": True,
    "qk_norm": "rms_norm_across_heads",
    "rope_max_seq_len": 32,
}
DROPOUT = 0.1  # of prompts, for guidance
EMA = 0.998


def build(seed: int) -> WanTransformer3DModel:
    torch.manual_seed(seed)
    return WanTransformer3DModel(**CONFIG)


def matrices(model: nn.Module) -> list[Tensor]:
    """The weights of the blocks' linear layers: what Muon updates."""
    return [p for name, p in model.named_parameters() if "blocks." in name and p.ndim == 2]


def train(
    model: WanTransformer3DModel,
    text: UMT5EncoderModel,
    latents: Tensor,
    tokens: Tensor,
    *,
    steps: int,
    batch: int,
    rate: float,
    shift: float,
    seed: int,
    out: Path,
) -> tuple[WanTransformer3DModel, UMT5EncoderModel]:
    """Trains both; returns their averages.

    latents [N, C, T, H, W], normalised; tokens [N + 1, L] int64, padded with 0, the last row the
    empty prompt. Of the schedule, the first 200 steps warm up and the last 40 % cool down linearly.
    """
    averages = copy.deepcopy(model).requires_grad_(False), copy.deepcopy(text).requires_grad_(False)
    every = [*model.parameters(), *text.parameters()]
    optimizers = Optimizers(matrices(model), every, rate)
    rng = np.random.default_rng([seed, rank()])
    generator = torch.Generator().manual_seed(seed * 1000 + rank())
    begin, running = time.monotonic(), math.nan
    for step in range(steps):
        chosen = torch.from_numpy(rng.integers(0, len(latents), batch))
        x = latents[chosen].float()
        eps = torch.randn(x.shape, generator=generator)
        t = flow.sample_times(seed + rank(), step, batch, shift)
        prompts = torch.where(torch.from_numpy(rng.random(batch) < DROPOUT), len(latents), chosen)
        states = encode(text, tokens[prompts])
        v = model(flow.interpolate(x, eps, t), flow.TIMESTEPS * t, states, return_dict=False)[0]
        loss = (v - flow.target_velocity(x, eps)).square().mean()  # Eq. 1 without its second term
        loss.backward()
        optimizers.step(min(1.0, (step + 1) / 200, (1 - step / steps) / 0.4 + 1e-3))
        decay = min(EMA, step / (step + 50))
        for average, current in zip(averages, (model, text), strict=True):
            ema(average, current, decay)
        running = loss.item() if math.isnan(running) else 0.99 * running + 0.01 * loss.item()
        if (step + 1) % 200 == 0 and rank() == 0:
            print(
                f"transformer {(time.monotonic() - begin) / 60:5.1f} min, step {step + 1} of "
                f"{steps}, loss {running:.4f}",
                flush=True,
            )
        if (step + 1) % 1000 == 0 and rank() == 0:
            save(averages, out)
    if rank() == 0:
        save(averages, out)
        write_json(out / "loss.json", running)
    return averages


def save(models: tuple[WanTransformer3DModel, UMT5EncoderModel], out: Path) -> None:
    for name, model in zip(("transformer", "text_encoder"), models, strict=True):
        model.save_pretrained(out / name)


def encode(text: UMT5EncoderModel, tokens: Tensor) -> Tensor:
    """States [B, L, D], zero at padding: `models.codec.encode_prompts`, with gradient."""
    mask = tokens != 0
    return text(tokens, mask.long()).last_hidden_state * mask[..., None]


def tokenize(tokenizer: T5Tokenizer, prompts: list[str], length: int) -> Tensor:
    """Token ids [N + 1, length], the last row the empty prompt."""
    found = tokenizer([*prompts, ""], padding="max_length", max_length=length, return_tensors="pt")
    return found.input_ids
