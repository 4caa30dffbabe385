"""What one clip costs a pipeline, counted on its real classes: no weights, no memory, no GPU.

The transformer and the VAE are built from their configurations with torch's fake tensors, which
have shapes and no data. One forward pass of each is counted by torch's own counter of FLOPs and by
its hooks on what autograd keeps. Any family of `models.families` can be asked.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ..common.errors import UserError
from ..config import Config, Model
from ..models import families, lora, pipeline
from ..models.hub import located
from . import published


@dataclass(frozen=True)
class Counts:
    """Of one clip, in model.dtype. FLOPs count a multiplication and an addition as two."""

    item: int  # bytes of a value
    experts: int  # transformers of the pipeline: one is trained, all are sampled with
    weights: int  # of one
    trained: int  # of these, or of the adapter where train.lora_rank is set
    layers: int
    latent: tuple[int, int, int, int]  # [C, T, H, W]
    tokens: int
    text_dim: int
    linear: float  # FLOPs of a forward pass in matrix products and convolutions
    attention: float  # and in attention's scores
    kept: float  # bytes kept for the backward pass
    checkpointed: float  # the same with gradient checkpointing
    hidden: float  # bytes of a block's input
    widest: float  # bytes of the largest tensor that is kept
    encode: float  # FLOPs of the VAE
    decode: float

    @property
    def forward(self) -> float:
        """FLOPs of a forward pass."""
        return self.linear + self.attention


@lru_cache(maxsize=8)
def count(config: Config) -> Counts:
    """Counts for the configuration's pipeline, size of clip and adapter.

    What training would refuse of these is a `UserError`, and a pipeline that is not on this disk
    nor among `published`.
    """
    with tempfile.TemporaryDirectory() as folder:
        known = published.in_folder(config, Path(folder))
        if not Path(located(known.model.pipeline)[0]).is_dir():
            raise UserError(
                f"model.pipeline={config.model.pipeline}: the plan knows "
                f"{', '.join(published.PIPELINES)} and pipeline folders on this disk; download it "
                "and give its folder"
            )
        return _count(known)


def _count(config: Config) -> Counts:
    model = config.model
    dtype = getattr(torch, model.dtype)
    kind, arch = pipeline.architecture(model, "transformer")
    vae_kind, vae_arch = pipeline.architecture(model, "vae")
    family, velocity = families.of(kind.__name__), pipeline.velocity(model)
    with _fake(dtype):
        transformer = kind.from_config(arch).train()
        weights = trained = sum(p.numel() for p in transformer.parameters())
        if config.train.lora_rank:
            trained = _adapted(transformer, config.train.lora_rank)
        latent = pipeline.latent_shape(config, transformer, vae_arch)
        arch = transformer.config  # with its defaults
        text_dim = family.text_dim(arch)
        x, text = torch.empty(1, *latent), torch.empty(1, model.text_length, text_dim)
        inputs = (transformer, x, torch.ones(1), text)
        linear, attention, kept = forward(velocity, inputs)
        transformer.enable_gradient_checkpointing()
        checkpointed = forward(velocity, inputs)[2]
    t, h, w = family.patch(arch)
    tokens = latent[1] * latent[2] * latent[3] // (t * h * w)
    width = arch["num_attention_heads"] * arch["attention_head_dim"]
    encode, decode = _vae(family, vae_kind, vae_arch, model)
    return Counts(
        item=dtype.itemsize,
        experts=1 if pipeline.boundary(model) is None else 2,
        weights=weights,
        trained=trained,
        layers=arch["num_layers"],
        latent=latent,
        tokens=tokens,
        text_dim=text_dim,
        linear=linear,
        attention=attention,
        kept=sum(kept),
        checkpointed=sum(checkpointed),
        hidden=float(dtype.itemsize * tokens * width),
        widest=max(kept),
        encode=encode,
        decode=decode,
    )


def _adapted(transformer: Any, rank: int) -> int:
    """Freezes all but what an adapter sits on, whose inputs it keeps; the adapter's weights."""
    transformer.requires_grad_(False)
    modules = transformer.named_modules()
    targets = [module for name, module in modules if name.endswith(lora.TARGETS)]
    for module in targets:
        module.requires_grad_(True)
    return sum(rank * (module.in_features + module.out_features) for module in targets)


@contextlib.contextmanager
def _fake(dtype: torch.dtype) -> Iterator[None]:
    """Tensors made within have no data; parameters are of this dtype."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with FakeTensorMode():
            yield
    finally:
        torch.set_default_dtype(before)


def forward(velocity: Any, inputs: tuple[Any, ...]) -> tuple[float, float, list[int]]:
    """FLOPs in matrix products, FLOPs in attention, bytes of every tensor kept for backward.

    inputs: what `velocity` takes, the transformer first; with data or without.
    """
    transformer, *tensors = inputs
    own = {_storage(t) for t in (*transformer.parameters(), *transformer.buffers(), *tensors)}
    found: dict[int, tuple[int, Tensor]] = {}

    def pack(tensor: Tensor) -> Tensor:
        if (storage := _storage(tensor)) not in own:  # held, so that no other takes its place
            found[storage] = tensor.untyped_storage().nbytes(), tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), _flops() as counter:
        velocity(*inputs)
    counts = counter.get_flop_counts()["Global"]
    attention = float(sum(n for name, n in counts.items() if "attention" in str(name)))
    return counter.get_total_flops() - attention, attention, [size for size, _ in found.values()]


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _flops() -> Any:
    """torch's counter, and attention on a CPU, which is not in its list."""
    from torch.utils.flop_counter import FlopCounterMode, sdpa_flop

    on_cpu = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return FlopCounterMode(
        display=False, custom_mapping={on_cpu: lambda q, k, v, *_, **__: sdpa_flop(q, k, v)}
    )


def _vae(family: ModuleType, kind: Any, arch: dict[str, Any], model: Model) -> tuple[float, float]:
    """FLOPs of encoding and of decoding one clip; the VAE is always fp32."""
    size = model.frames, model.height, model.width
    with _fake(torch.float32), torch.no_grad():
        vae = kind.from_config(arch)
        with _flops() as encode:
            z = vae.encode(torch.empty(1, 3, *size))
        with _flops() as decode:
            family.decode(vae, z.latent_dist.mode())
    return float(encode.get_total_flops()), float(decode.get_total_flops())
