"""What the trainer asks of a pipeline, for each family of flow-matching models.

A family is a module with these names; `models.pipeline` asks them on behalf of all the rest:

    PIPELINE, TRANSFORMER, VAE         the diffusers classes, by name
    strides(vae_config)                -> (temporal, spatial) pixels per latent
    patch(transformer_config)          -> (t, h, w) latents per token
    text_dim(transformer_config)       -> D of the text states
    states(encoder, ids, mask)         -> text states [B, L, D]; the caller cuts padding off
    latent_scale(vae)                  -> mean, std [C]: latents are (z - mean) / std
    decode(vae, z)                     -> pixels [B, 3, T, H, W] in [-1, 1]
    velocity(model, vae_config)        -> v(forward, x_t, t, text) [B, C, T, H, W], v = eps - x

`forward` is the transformer, or what stands for it (an engine around it, the same weights without
their adapter). t is the noise level in [0, 1]; text [B, L, D] is zero at padding. A new family is
one more module here, and its line in `of`; or a plug-in's object with these names, and CLASSES, a
dict of its own classes by name where diffusers does not have them.
"""

from __future__ import annotations

from typing import Any

from ...common.errors import UserError
from ...plugins.registry import entries


def of(class_name: str) -> Any:
    """The family of a pipeline's, transformer's or VAE's class, by the class's name."""
    from . import ltx, wan

    known: list[Any] = [wan, ltx, *(entry.function() for entry in entries("family"))]
    for family in known:
        if class_name in (family.PIPELINE, family.TRANSFORMER, family.VAE):
            return family
    names = " or ".join(family.PIPELINE for family in known)
    raise UserError(f"model.pipeline is a {class_name}, which is not trained here; use a {names}")


def named(family: Any, part: str) -> Any:
    """The class that a family calls its PIPELINE, TRANSFORMER or VAE."""
    import diffusers

    name = getattr(family, part)
    return getattr(family, "CLASSES", {}).get(name) or getattr(diffusers, name)
