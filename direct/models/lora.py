"""LoRA by peft: an adapter is trained; the reference is the same weights without it, no copy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..common.errors import UserError
from ..common.seed import stable_seed
from ..config import Config
from . import families

TARGETS = ("to_q", "to_k", "to_v", "to_out.0")  # attention, as finetrainers' Wan recipe


def add(model: Any, config: Config) -> None:
    """Freezes the model and adds an adapter that changes nothing yet; drawn from the seed."""
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise UserError(
            f"train.lora_rank={config.train.lora_rank} needs peft; pip install -e '.[scale]'"
        ) from error

    model.requires_grad_(False)
    rank, alpha = config.train.lora_rank, config.train.lora_alpha
    with torch.random.fork_rng():
        torch.manual_seed(stable_seed(config.seed, "lora"))
        model.add_adapter(LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(TARGETS)))


def reference(model: Any) -> Any:
    """The frozen base as a function: the model's own weights, the adapter off."""

    def forward(*inputs: Any, **options: Any) -> Any:
        model.disable_adapters()
        try:
            return model(*inputs, **options)
        finally:
            model.enable_adapters()

    return forward


def save_adapter(model: Any, folder: Path) -> None:
    """`pytorch_lora_weights.safetensors`, as `pipeline.load_lora_weights(folder)` reads it."""
    import diffusers
    from peft.utils import get_peft_model_state_dict

    pipeline = getattr(diffusers, families.of(type(model).__name__).PIPELINE)
    pipeline.save_lora_weights(
        folder,
        transformer_lora_layers=get_peft_model_state_dict(model),
        transformer_lora_adapter_metadata=model.peft_config["default"].to_dict(),
    )


def merge(model: Any) -> None:
    """Adds the adapter to the weights and takes it off: W + (alpha / rank) B A."""
    model.fuse_lora()
    model.unload_lora()
