"""The architectures of published pipelines, so that what needs no weights downloads nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ..common.files import write_json
from ..config import Config

WAN_VAE = {"scale_factor_spatial": 8}
WAN_22_VAE = {  # residual, on patches of 2 x 2 pixels
    "base_dim": 160,
    "decoder_base_dim": 256,
    "z_dim": 48,
    "is_residual": True,
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "scale_factor_spatial": 16,
}


def _wan(
    heads: int, ffn: int, layers: int, channels: int = 16, vae: dict[str, Any] = WAN_VAE
) -> dict[str, dict[str, Any]]:
    return {
        "model_index.json": {"_class_name": "WanPipeline"},
        "transformer/config.json": {
            "_class_name": "WanTransformer3DModel",
            "patch_size": [1, 2, 2],
            "num_attention_heads": heads,
            "attention_head_dim": 128,
            "in_channels": channels,
            "out_channels": channels,
            "text_dim": 4096,
            "freq_dim": 256,
            "ffn_dim": ffn,
            "num_layers": layers,
            "cross_attn_norm": True,
            "qk_norm": "rms_norm_across_heads",
            "eps": 1e-6,
            "rope_max_seq_len": 1024,
        },
        "vae/config.json": {"_class_name": "AutoencoderKLWan", "scale_factor_temporal": 4, **vae},
    }


def _two_experts(boundary: float, one: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Both of one architecture."""
    second = {"transformer_2": ["diffusers", "WanTransformer3DModel"], "boundary_ratio": boundary}
    return one | {
        "model_index.json": one["model_index.json"] | second,
        "transformer_2/config.json": one["transformer/config.json"],
    }


# By hub id, at any commit. What a file leaves out is its class's default.
PIPELINES: dict[str, dict[str, dict[str, Any]]] = {
    "Wan-AI/Wan2.1-T2V-1.3B-Diffusers": _wan(12, 8960, 30),
    "Wan-AI/Wan2.1-T2V-14B-Diffusers": _wan(40, 13824, 40),
    "Wan-AI/Wan2.2-T2V-A14B-Diffusers": _two_experts(0.875, _wan(40, 13824, 40)),
    "Wan-AI/Wan2.2-TI2V-5B-Diffusers": _wan(24, 14336, 30, 48, WAN_22_VAE),
    "Lightricks/LTX-Video": {
        "model_index.json": {"_class_name": "LTXPipeline"},
        "transformer/config.json": {
            "_class_name": "LTXVideoTransformer3DModel",
            "patch_size": 1,
            "patch_size_t": 1,
            "num_attention_heads": 32,
            "attention_head_dim": 64,
            "in_channels": 128,
            "cross_attention_dim": 2048,
            "caption_channels": 4096,
            "num_layers": 28,
        },
        "vae/config.json": {
            "_class_name": "AutoencoderKLLTXVideo",
            "latent_channels": 128,
            "patch_size": 4,
            "patch_size_t": 1,
            "spatio_temporal_scaling": [True, True, True, False],
        },
    },
}


def in_folder(config: Config, folder: Path) -> Config:
    """`config` with its pipeline's architecture in a folder, where it is one of PIPELINES."""
    hub_id = config.model.pipeline.partition("@")[0]
    if hub_id not in PIPELINES:
        return config
    for name, content in PIPELINES[hub_id].items():
        write_json(folder / "pipeline" / name, content)
    model = replace(config.model, pipeline=str(folder / "pipeline"))
    return replace(config, model=model)
