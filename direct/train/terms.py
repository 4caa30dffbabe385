"""Terms of the loss that plug-ins add to Eq. 6 (`direct.plugins`); without any, nothing is done.

A target velocity u adds weight * d(v, u), all targets by one call of `loss.targets`. Another term
adds weight times the mean over the samples of what its function returns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import noise
from ..common.errors import UserError
from ..config import Config
from ..loss.targets import target_loss
from ..plugins import carried
from ..plugins.registry import Entry
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
    targets: dict[str, Target] = {}
    added: list[Tensor] = []
    values: dict[str, tuple[Tensor, Tensor]] = {}  # of each term, and for whom they count
    for entry, settings in terms:
        weight = float(settings.pop("weight"))
        of = prompted if entry.options["prompted"] else torch.ones_like(prompted)
        if entry.kind == "target":
            targets[entry.name] = Target(_velocity(entry, settings, seen, v), weight, of)
        else:
            d = _values(entry.name, entry.function(v, seen, **settings), len(prompted))
            added.append(weight * (of * d).mean())
            values[entry.name] = (d, of)
    if targets:
        loss, distances = _evaluate_targets(v, targets, config)
        added.append(loss)
        values |= {name: (d, targets[name].of) for name, d in distances.items()}
    shown = (values[entry.name] for entry, _ in terms)
    return added, [torch.where(of > 0, d.detach(), torch.nan)[:, None] for d, of in shown]


class Target(NamedTuple):
    """What a term's velocity adds to the loss: the mean of `of` weight d(v, u)."""

    u: Tensor  # like v
    weight: float
    of: Tensor  # [B] 1, or 0 for a sample that the term leaves out


def _velocity(entry: Entry, settings: dict[str, Any], seen: Seen, v: Tensor) -> Tensor:
    with torch.no_grad():
        u = entry.function(seen, **settings)
    if not isinstance(u, Tensor) or u.shape != v.shape:
        found = list(u.shape) if isinstance(u, Tensor) else type(u).__name__
        raise UserError(
            f"the target {entry.name} returned {found}; return a tensor {list(v.shape)}"
        )
    return u.detach().to(v.dtype)


def _evaluate_targets(
    v: Tensor, targets: dict[str, Target], config: Config
) -> tuple[Tensor, dict[str, Tensor]]:
    """What the targets add to the loss, and each one's d(v, u) [B]."""
    us, weights, of = zip(*targets.values(), strict=True)
    out = target_loss(
        v,
        us,
        weights,
        weight=torch.stack(of, 1).float(),
        threshold=config.loss.threshold,
        backend=config.loss.backend,
    )
    return out.loss, dict(zip(targets, out.distances.unbind(1), strict=True))


def _values(name: str, values: Any, batch: int) -> Tensor:
    if isinstance(values, Tensor) and values.shape == ():
        values = values.expand(batch)
    if not isinstance(values, Tensor) or values.shape != (batch,):
        found = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise UserError(f"the term {name} returned {found}; return a tensor [] or [{batch}]")
    return values.float()
