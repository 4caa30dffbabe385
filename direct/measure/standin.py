"""Random data of the real sizes: all that measuring a training's cost needs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..common.errors import UserError
from ..config import Config
from ..data.sample import Sample
from ..models import families, pipeline
from ..negatives import macro
from ..prepare.shared import Shared
from ..prepare.store import Store

CLIPS = 32  # stand-ins; no fewer than two batches
BYTES_PER_WEIGHT = 20  # fp32 weight, gradient and AdamW's two moments; the reference


def random_transformer(config: Config) -> Any:
    """The pipeline's transformer, of its architecture alone, on the default device."""
    kind, settings = pipeline.architecture(config.model, "transformer")
    return kind.from_config(settings)


def check_room(config: Config) -> int:
    """The transformer's parameters, if a training of them fits the device."""
    with torch.device("meta"):
        count = sum(p.numel() for p in random_transformer(config).parameters())
    needed, room = BYTES_PER_WEIGHT * count, device_bytes()
    if needed > room and not config.train.lora_rank:
        raise UserError(
            f"training {count / 1e9:.2f} billion parameters needs {needed / 1e9:.0f} GB before "
            f"any activation, and this device has {room / 1e9:.0f} GB; cost is measured in one "
            "process, so on a larger device, or set model.pipeline to a smaller model"
        )
    return count


def device_bytes() -> int:
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[1]
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def clips(config: Config, folder: Path) -> Shared:
    """Random clips, texts and hard negatives of the real sizes, in a cache like the real one."""
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        transformer = random_transformer(config)
    shape = pipeline.latent_shape(config, transformer, pipeline.vae_config(config.model))
    width = families.of(type(transformer).__name__).text_dim(transformer.config)
    length, dtype = config.model.text_length, getattr(torch, config.model.dtype)
    count = max(CLIPS, 2 * config.train.batch)
    store = Store(folder / "store")
    for i in range(count):
        store.write(
            {
                f"x {i}": torch.randn(shape, generator=generator),
                f"hard {i}": torch.randn(shape, generator=generator),
                f"text {i}": torch.randn(max(1, length // 4), width, generator=generator).to(dtype),
            }
        )
    store.refresh()

    def text(prompts: Any) -> Tensor:
        trimmed = [store[prompt or "text 0"] for prompt in prompts]
        return torch.stack([F.pad(e, (0, 0, 0, length - len(e))) for e in trimmed])

    return Shared(
        samples=[Sample(f"{i}", f"text {i}", "", _nothing, _nothing, None) for i in range(count)],
        latents=lambda indices: store.batch([f"x {i}" for i in indices]),
        text=text,
        pools=macro.exclusion(np.arange(count) % min(config.macro.clusters, count // 2)),
        hard_prompts=[[f"hard {i}"] for i in range(count)],
        hard=store.batch,
    )


def _nothing(*arguments: Any) -> Any:
    raise AssertionError("random data is neither rendered nor perturbed")
