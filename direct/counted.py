"""What one clip costs a pipeline, counted on its real classes: no weights, no memory, no GPU.

The transformer and the VAE are built from their configurations with torch's fake tensors, which
have shapes and no data. One forward pass of each is counted by torch's own counter of FLOPs and by
its hooks on what autograd keeps. Any family of `direct.families` can be asked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from . import families, lora, models
from .config import Config, Model
from .errors import UserError
from .hub import located

# The published pipelines, at any commit, so that a plan needs no download: their transformer's
# class, and what differs from its defaults. Their VAEs have the defaults of theirs.
WAN, LTX = "WanTransformer3DModel", "LTXVideoTransformer3DModel"
KNOWN: dict[str, tuple[str, dict[str, Any]]] = {
    "Wan-AI/Wan2.1-T2V-1.3B-Diffusers": (
        WAN,
        {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30},
    ),
    "Wan-AI/Wan2.1-T2V-14B-Diffusers": (
        WAN,
        {"num_attention_heads": 40, "ffn_dim": 13824, "num_layers": 40},
    ),
    "Lightricks/LTX-Video": (LTX, {}),
}


@dataclass(frozen=True)
class Counts:
    """Of one clip, in bf16. FLOPs count a multiplication and an addition as two."""

    weights: int  # of the transformer
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


def count(config: Config) -> Counts:
    """Counts for the configuration's pipeline, size of clip and adapter."""
    return _count(config.model, config.train.lora_rank)


@lru_cache(maxsize=8)
def _count(model: Model, rank: int) -> Counts:
    kind, arch = _architecture(model, "transformer")
    family = families.of(kind.__name__)
    vae, encode, decode = _vae(family, *_architecture(model, "vae"), model)
    with _fake(torch.bfloat16):
        transformer = kind.from_config(arch)
        weights = trained = sum(p.numel() for p in transformer.parameters())
        if rank:
            trained = _adapted(transformer, rank)
        arch, (temporal, spatial) = transformer.config, family.strides(vae.config)
        latent = (arch["in_channels"], (model.frames - 1) // temporal + 1,
                  model.height // spatial, model.width // spatial)  # fmt: skip
        text_dim = arch.get("text_dim") or arch["caption_channels"]
        x, text = torch.empty(1, *latent), torch.empty(1, model.text_length, text_dim)
        velocity = family.velocity(model, vae.config)
        inputs = (transformer.train(), x, torch.ones(1), text)
        linear, attention, kept = _forward(velocity, inputs)
        transformer.enable_gradient_checkpointing()
        checkpointed = _forward(velocity, inputs)[2]
    t, h, w = family.patch(arch)
    tokens = latent[1] * latent[2] * latent[3] // (t * h * w)
    return Counts(
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
        hidden=2.0 * tokens * arch["num_attention_heads"] * arch["attention_head_dim"],
        widest=max(kept),
        encode=encode,
        decode=decode,
    )


def _architecture(model: Model, part: str) -> tuple[Any, dict[str, Any]]:
    """The class of the transformer or the VAE, and its configuration."""
    import diffusers

    hub_id = model.pipeline.partition("@")[0]
    if hub_id in KNOWN:
        name, changes = KNOWN[hub_id]
        if part == "transformer":
            return getattr(diffusers, name), changes
        return getattr(diffusers, families.of(name).VAE), {}
    if not Path(located(model.pipeline)[0]).is_dir():
        raise UserError(
            f"model.pipeline={model.pipeline}: the plan knows {', '.join(KNOWN)} and pipeline "
            "folders on this disk; download it and give its folder"
        )
    return models.architecture(model, part)


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


def _forward(velocity: Any, inputs: tuple[Any, ...]) -> tuple[float, float, list[int]]:
    """FLOPs in matrix products, FLOPs in attention, bytes of every tensor kept for backward."""
    from torch.utils.flop_counter import FlopCounterMode, sdpa_flop

    transformer, *tensors = inputs
    own = {_storage(t) for t in (*transformer.parameters(), *transformer.buffers(), *tensors)}
    found: dict[int, tuple[int, Tensor]] = {}

    def pack(tensor: Tensor) -> Tensor:
        if (storage := _storage(tensor)) not in own:  # held, so that no other takes its place
            found[storage] = tensor.untyped_storage().nbytes(), tensor
        return tensor

    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # not in torch's own list
    counter = FlopCounterMode(
        display=False, custom_mapping={flash: lambda q, k, v, *_, **__: sdpa_flop(q, k, v)}
    )
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), counter:
        velocity(*inputs)
    counts = counter.get_flop_counts()["Global"]
    attention = float(sum(n for name, n in counts.items() if "attention" in str(name)))
    return counter.get_total_flops() - attention, attention, [size for size, _ in found.values()]


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _vae(
    family: ModuleType, kind: Any, arch: dict[str, Any], model: Model
) -> tuple[Any, float, float]:
    """The VAE without data, and its FLOPs of encoding and of decoding one clip."""
    from torch.utils.flop_counter import FlopCounterMode

    with _fake(torch.float32), torch.no_grad():
        vae = kind.from_config(arch)
        with FlopCounterMode(display=False) as encode:
            z = vae.encode(torch.empty(1, 3, model.frames, model.height, model.width))
        with FlopCounterMode(display=False) as decode:
            family.decode(vae, z.latent_dist.mode())
    return vae, float(encode.get_total_flops()), float(decode.get_total_flops())
