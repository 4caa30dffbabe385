"""One optimizer step by Eq. 6."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .. import flow, noise, velocity_loss
from ..common import ranks
from ..config import Config
from ..models import pipeline
from .batch import Batch


def train_step(
    running: Any, reference: Any, batches: Batch | Sequence[Batch], config: Config
) -> dict[str, Any]:
    """One update by Eq. 6 from this rank's micro-batches; returns what is logged of the whole.

    running: an engine of `engine`; reference: the frozen base, or `None`; both are called
    as the transformer is.
    """
    batches = [batches] if isinstance(batches, Batch) else batches
    rows = [_pass(running, reference, batch, config) for batch in batches]
    running.step()
    return _measured(ranks.gather(torch.cat(rows)), running.norm())


def _pass(running: Any, reference: Any, batch: Batch, config: Config) -> Tensor:
    """Forward and backward; [B, 11] fp32: 4 distances, 2 alignments, 4 weights, the loss."""
    loss, velocity = config.loss, pipeline.velocity(config.model)
    if loss.regenerate_noise:
        eps, x_t = None, noise.interpolate(batch.x, batch.key, batch.t)
    else:
        eps = noise.normal(batch.key, batch.x.shape, device=batch.x.device)
        x_t = flow.interpolate(batch.x, eps, batch.t)
    x_t, text = running.inputs(x_t, batch.text)
    with running.precision():
        v_ref = None
        if reference is not None:  # Eq. 5; before v, whose activations are then not yet held
            with torch.no_grad():
                v_ref = velocity(reference, x_t, batch.t, text)
        v = velocity(running, x_t, batch.t, text)
    out = velocity_loss(
        v,
        _like(v, batch.x),
        _like(v, eps),
        rand_latents=_like(v, batch.x_rand),
        rand_noise=_like(v, batch.eps_rand),
        hard_latents=_like(v, batch.x_hard),
        reference=_like(v, v_ref),
        negative_noise=loss.negative_noise,
        noise_key=batch.key,
        lambda_rand=loss.lambda_rand,
        lambda_hard=loss.lambda_hard,
        lambda_anc=loss.lambda_anc,
        weight=batch.weight,
        threshold=loss.threshold,
        backend=loss.backend,
    )
    # The loss's mask hides a nan in v; a term of value 0 lets it reach the gradient, and the guard.
    running.backward(out.loss + 0 * v.float().sum())
    total = out.loss.detach().expand(len(batch.weight), 1)
    return torch.cat([out.distances, out.alignment, batch.weight, total], 1)


def _measured(rows: Tensor, norm: float) -> dict[str, Any]:
    """One line of metrics.jsonl; means are over the samples a term applies to, null without.

    rows [B, 11]: `_pass` of every sample of the global batch. All ranks find the same.
    """
    distances, alignment, weight, losses = rows.split((4, 2, 4, 1), 1)
    values: dict[str, Any] = {"loss": _number(losses.double().mean()), "grad_norm": _number(norm)}
    for k, name in enumerate(("fm", "rand", "hard", "anc")):
        values[f"d_{name}"] = _mean(distances[:, k], weight[:, k])
    for k, name in enumerate(("rand", "hard")):
        values[f"a_{name}"] = _mean(alignment[:, k], weight[:, k + 1])
        on = not distances[:, k + 1].isnan().all()
        values[f"contrasted_{name}"] = int(weight[:, k + 1].count_nonzero()) if on else 0
    values["skipped"] = not math.isfinite(norm)
    return values


def _mean(values: Tensor, weight: Tensor) -> float | None:
    return _number(values[weight > 0].mean())


def _number(value: Tensor | float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _like(v: Tensor, other: Tensor | None) -> Any:
    return None if other is None else other.to(v.dtype)
