"""Terms of the loss that plug-ins add to Eq. 6 (`direct.plugins`); without any, nothing is done.

A target velocity u adds weight * d(v, u), by the loss's own kernel. Another term adds weight times
the mean over the samples of what its function returns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .. import noise, velocity_loss
from ..common.errors import UserError
from ..config import Config
from ..plugins import carried
from .batch import Batch


@dataclass(frozen=True)
class Seen:
    """What a term is given: B samples, and what the models were given of them and said."""

    x: Tensor  # [B, C, T, H, W] clean latents
    eps: Tensor  # [B, C, T, H, W] their noise: u+ = eps - x
    t: Tensor  # [B] noise levels
    x_t: Tensor  # [B, C, T, H, W] (1 - t) x + t eps, as the transformer is given it
    text: Tensor  # [B, L, D] embeddings
    prompted: Tensor  # [B] 1, or 0 where the prompt was dropped
    v_ref: Tensor | None  # [B, C, T, H, W] the frozen base's velocity, where the term asked for it
    frozen: Callable[..., Tensor] | None  # frozen(x_t, t, text) -> the base's velocity elsewhere
    config: Config


def names(config: Config) -> list[str]:
    """The terms that are on, in the order of their columns."""
    return [entry.name for entry, _ in carried.active(config, *carried.TERMS)]


def need_reference(config: Config) -> bool:
    """Whether the anchor, or one of them, asks for the frozen base."""
    return bool(config.loss.lambda_anc) or any(
        entry.options["reference"] for entry, _ in carried.active(config, *carried.TERMS)
    )


def evaluate(
    v: Tensor,
    batch: Batch,
    config: Config,
    eps: Tensor | None,
    x_t: Tensor,
    v_ref: Tensor | None,
    frozen: Callable[..., Tensor] | None,
) -> tuple[list[Tensor], list[Tensor]]:
    """What is added to the loss, and each term's own values [B, 1]; nothing without terms."""
    terms = carried.active(config, *carried.TERMS)
    if not terms:
        return [], []
    eps = noise.normal(batch.key, batch.x.shape, device=batch.x.device) if eps is None else eps
    prompted = batch.weight[:, 1]
    seen = Seen(batch.x, eps, batch.t, x_t, batch.text, prompted, v_ref, frozen, config)
    added, columns = [], []
    for entry, settings in terms:
        weight = float(settings.pop("weight"))
        of = prompted if entry.options["prompted"] else torch.ones_like(prompted)
        if entry.kind == "target":
            loss, values = _target(entry.name, entry.function, settings, weight, v, seen, of)
        else:
            values = _values(entry.name, entry.function(v, seen, **settings), len(prompted))
            loss = weight * (of * values).mean()
        added.append(loss)
        columns.append(torch.where(of > 0, values.detach(), torch.nan)[:, None])
    return added, columns


def _target(
    name: str,
    function: Callable[..., Any],
    settings: dict[str, Any],
    weight: float,
    v: Tensor,
    seen: Seen,
    of: Tensor,
) -> tuple[Tensor, Tensor]:
    """weight d(v, u) over the batch, and d [B]: the kernel's anchor, with u in its place."""
    with torch.no_grad():
        u = function(seen, **settings)
    if not isinstance(u, Tensor) or u.shape != v.shape:
        found = list(u.shape) if isinstance(u, Tensor) else type(u).__name__
        raise UserError(f"the target {name} returned {found}; return a tensor {list(v.shape)}")
    off = torch.zeros_like(of)
    out = velocity_loss(
        v,
        seen.x.to(v.dtype),
        seen.eps.to(v.dtype),
        reference=u.detach().to(v.dtype),
        lambda_anc=weight,
        weight=torch.stack([off, off, off, of], 1).float(),
        threshold=seen.config.loss.threshold,
        backend=seen.config.loss.backend,
    )
    return out.loss, out.distances[:, 3]


def _values(name: str, values: Any, batch: int) -> Tensor:
    if isinstance(values, Tensor) and values.shape == ():
        values = values.expand(batch)
    if not isinstance(values, Tensor) or values.shape != (batch,):
        found = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise UserError(f"the term {name} returned {found}; return a tensor [] or [{batch}]")
    return values.float()
