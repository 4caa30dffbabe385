"""Weights that are cut over the ranks (FSDP2), for models that do not fit one GPU twice; and clips.

A block's weights are put together where it computes, and cut again after; gradients are summed as
they are cut, in fp32. What is cut stays fp32, so the engine around it is the plain one: AdamW on
fp32 weights. Full fine-tuning of 14B: docs/scale.md.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..common import ranks
from ..common.errors import UserError
from ..config import Config
from ..models import pipeline
from ..models.families import wan


def shard(model: Any, config: Config) -> None:
    """Cuts a diffusers model's weights over all ranks, in place, and moves them to the device.

    The model may be on the CPU: one block after another is moved. It is then called as before, by
    every rank at once.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    if config.train.context_parallel > 1:
        _cut_clips(model, config)
    mesh = init_device_mesh(pipeline.device().type, (ranks.size(),))
    kinds = model._repeated_blocks
    blocks = [module for module in model.modules() if type(module).__name__ in kinds]
    for module in [*blocks, model]:
        # Also the model's own weights outside of blocks: named_parameters() are then always the
        # optimizer's, whatever was computed last.
        fully_shard(module, mesh=mesh, reshard_after_forward=True)


def _cut_clips(model: Any, config: Config) -> None:
    """Has `train.context_parallel` neighbours compute each clip together, by diffusers.

    Each has its part of the tokens, and in attention its part of the heads (Ulysses). Every one of
    them is given, and returns, the whole clip; its gradients are those of its own part.
    """
    from diffusers import ContextParallelConfig
    from torch.distributed.device_mesh import init_device_mesh

    if type(model).__name__ != wan.TRANSFORMER:
        raise UserError(
            f"train.context_parallel is tried with Wan's transformer alone, not a "
            f"{type(model).__name__}; use 1"
        )
    if not torch.accelerator.device_count():
        raise UserError(
            f"train.context_parallel={config.train.context_parallel} needs GPUs; use 1 on a CPU"
        )
    n, heads = config.train.context_parallel, model.config.num_attention_heads
    shape = pipeline.latent_shape(config, model, pipeline.vae_config(config.model))
    tokens = math.prod(shape[1:]) // math.prod(model.config.patch_size)
    if tokens % n or heads % n:
        raise UserError(
            f"train.context_parallel={n} must divide a clip's {tokens} tokens and the model's "
            f"{heads} heads of attention"
        )
    names = ("group", "ring", "ulysses")
    mesh = init_device_mesh(pipeline.device().type, (ranks.size() // n, 1, n), mesh_dim_names=names)
    model.enable_parallelism(config=ContextParallelConfig(ulysses_degree=n, mesh=mesh))


def is_sharded(model: nn.Module) -> bool:
    return any(hasattr(parameter, "full_tensor") for parameter in model.parameters())


def whole(tensor: Tensor) -> Tensor:
    """Put together, if it is cut: all ranks call it."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def cut(tensor: Tensor, like: Tensor) -> Tensor:
    """This rank's part of a whole tensor that all ranks have, as `like` is cut; nothing is sent."""
    if not hasattr(like, "full_tensor"):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    mesh, places = like.device_mesh, like.placements  # type: ignore[attr-defined]
    return distribute_tensor(tensor.to(like.device), mesh, places, src_data_rank=None)
