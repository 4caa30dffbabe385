"""What the trainer asks of a pipeline, for each family of flow-matching models.

A family is a module with these names; `models.pipeline` asks them on behalf of all the rest:

    PIPELINE, TRANSFORMER, VAE         the diffusers classes, by name
    strides(vae_config)                -> (temporal, spatial) pixels per latent
    patch(transformer_config)          -> (t, h, w) latents per token
    text_dim(transformer_config)       -> D of the text states
    states(encoder, ids, mask)         -> text states [B, L, D]; the caller cuts padding off
    latent_scale(vae)                  -> mean, std [C]: latents are (z - mean) / std
    decode(vae, z)                     -> pixels [B, 3, T, H, W] in [-1, 1]
    points(steps)                      -> [steps] that the pipeline has its scheduler shift, or None
    velocity(model, vae_config)        -> v(forward, x_t, t, text) [B, C, T, H, W], v = eps - x

`forward` is the transformer, or what stands for it (an engine around it, the same weights without
their adapter). t is the noise level in [0, 1]; text [B, L, D] is zero at padding. A new family is
one more module here, and its line in `of`; or a plug-in's object with these names, and CLASSES, a
dict of its own classes by name where diffusers does not have them. A family that knows more of a
pipeline than the five components of PARTS names these components, options and INPUTS in KNOWN.
"""

from __future__ import annotations

import inspect
from typing import Any

from ...common.errors import UserError
from ...plugins.registry import Entry, entries

NAMES = (
    *("PIPELINE", "TRANSFORMER", "VAE", "strides", "patch", "text_dim", "states"),
    *("latent_scale", "decode", "points", "velocity"),
)
PARTS = ("scheduler", "text_encoder", "tokenizer", "transformer", "vae")
# What a transformer's configuration says of inputs that no family's velocity gives it.
INPUTS = (
    "added_kv_proj_dim",
    "guidance_embeds",
    "image_dim",
    "pooled_projection_dim",
    "pos_embed_seq_len",
)


def of(class_name: str) -> Any:
    """The family of a pipeline's, transformer's or VAE's class, by the class's name."""
    from . import ltx, wan

    known: list[Any] = [wan, ltx, *(_checked(entry) for entry in entries("family"))]
    for family in known:
        if class_name in (family.PIPELINE, family.TRANSFORMER, family.VAE):
            return family
    names = " or ".join(dict.fromkeys(family.PIPELINE for family in known))
    raise UserError(
        f"model.pipeline is a {class_name}, which is not trained here; use a {names}, or register "
        "its family (docs/extend.md)"
    )


def _checked(entry: Entry) -> Any:
    """A plug-in's family, with all the names above."""
    family = entry.function()
    if absent := [name for name in NAMES if not hasattr(family, name)]:
        raise UserError(
            f"the family {entry.name} has no {', '.join(absent)}; return an object with "
            f"{', '.join(NAMES)} (direct/models/families/__init__.py)"
        )
    return family


def check_pipeline(index: dict[str, Any], source: str) -> None:
    """A `UserError` where a pipeline has what its family does not know, and would leave out.

    index: its model_index.json. So a second expert or text encoder is not ignored.
    """
    known = (*PARTS, *_known(index["_class_name"]))
    _refuse(
        source,
        index["_class_name"],
        {
            name: None if isinstance(value, list) else value
            for name, value in sorted(index.items())
            if name[0] != "_" and name not in known and _is_set(value)
        },
    )
    boundary(index, source)


def boundary(index: dict[str, Any], source: str) -> float | None:
    """The noise level at and above which `transformer` is used, and below it `transformer_2`.

    None: one transformer is used at all levels. index: the pipeline's model_index.json.
    """
    two, level = _is_set(index.get("transformer_2")), index.get("boundary_ratio")
    if not two and level is None:
        return None
    if not (two and isinstance(level, float | int) and 0 < level < 1):
        raise UserError(
            f"model.pipeline={source} has boundary_ratio={level} "
            f"{'and' if two else 'without'} transformer_2; two experts need both, and a "
            "boundary_ratio between 0 and 1: correct its model_index.json"
        )
    return float(level)


def check_transformer(config: dict[str, Any], source: str) -> None:
    """The same of a transformer's configuration: inputs beside the noisy latents and the text, and
    options that its class does not take, of which diffusers only warns."""
    takes = inspect.signature(named(of(config["_class_name"]), "TRANSFORMER")).parameters
    found = {
        name: value
        for name, value in config.items()
        if _is_set(value) and (name in INPUTS or not (name in takes or name[0] == "_"))
    }
    channels, out = config.get("in_channels"), config.get("out_channels")
    if out and out != channels:
        found["in_channels"] = f"{channels} for {out} out"
    known = _known(config["_class_name"])
    _refuse(source, config["_class_name"], {n: v for n, v in found.items() if n not in known})


def _known(class_name: str) -> tuple[str, ...]:
    return getattr(of(class_name), "KNOWN", ())


def _is_set(value: Any) -> bool:
    """A component that is null, or an option that is off, asks for nothing."""
    if isinstance(value, list):
        return bool(value) and value[1:2] != [None]
    return value not in (None, False)


def _refuse(source: str, class_name: str, unknown: dict[str, Any]) -> None:
    if unknown:
        said = (f"{name}={value}" if value is not None else name for name, value in unknown.items())
        raise UserError(
            f"model.pipeline={source} is a {class_name} with {', '.join(said)}, which is not known "
            "here and would be left out; use a pipeline without"
        )


def named(family: Any, part: str) -> Any:
    """The class that a family calls its PIPELINE, TRANSFORMER or VAE."""
    import diffusers

    name = getattr(family, part)
    return getattr(family, "CLASSES", {}).get(name) or getattr(diffusers, name)
