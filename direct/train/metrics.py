"""What is logged of a training step: one line of metrics.jsonl."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

TERMS, NEGATIVES = ("fm", "rand", "hard", "anc"), ("rand", "hard")


def line(rows: Tensor, norm: float, plugged: Sequence[str] = ()) -> dict[str, Any]:
    """Means over the samples that a term applies to, null where there is none.

    rows [B, 11 + P]: 4 distances, 2 alignments, 4 weights and the loss of every sample of the
    global batch, then the P terms of plug-ins, whose names are `plugged`; nan where one does not
    apply. All ranks find the same. norm: of the gradient, before clipping.
    """
    distances, alignment, weight, losses, own = rows.split((4, 2, 4, 1, len(plugged)), 1)
    values: dict[str, Any] = {"loss": _number(losses.double().mean()), "grad_norm": _number(norm)}
    for k, name in enumerate(TERMS):
        values[f"d_{name}"] = _mean(distances[:, k], weight[:, k])
    for k, name in enumerate(NEGATIVES):
        values[f"a_{name}"] = _mean(alignment[:, k], weight[:, k + 1])
        on = not distances[:, k + 1].isnan().all()
        values[f"contrasted_{name}"] = int(weight[:, k + 1].count_nonzero()) if on else 0
    for name, column in zip(plugged, own.T, strict=True):
        values[f"term_{name}"] = _mean(column, ~column.isnan())
    values["skipped"] = not math.isfinite(norm)
    return values


def _mean(values: Tensor, weight: Tensor) -> float | None:
    return _number(values[weight > 0].mean())


def _number(value: Tensor | float) -> float | None:
    return float(value) if math.isfinite(value) else None
