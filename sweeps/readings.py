"""A measuring cell's readings as columns of a table: `<reading>.<metric>`, one value per step.

A statistic over steps that is no mean, as a standard deviation, enters as its jackknife
pseudo-values: their mean is the statistic, their spread its uncertainty, and those of two rows are
paired by step. So intervals, contrasts and claims treat it as they treat every other column.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from .schema import Row
from .stats import Array


def column(wide: Mapping[tuple[str, str], Array], cell: str, row: Row, metric: str) -> Array | None:
    """The cell's values of the row's metric, [P]; `None` where the row has none."""
    if not row.reading:
        return wide.get((cell, metric))
    statistic, names = DERIVED.get(metric, (None, (metric,)))
    columns = [wide.get((cell, f"{row.reading}.{name}")) for name in names]
    found = [values for values in columns if values is not None]
    if len(found) < len(names):
        return None
    return jackknife(statistic, *found) if statistic else found[0]


def jackknife(statistic: Callable[..., float], *columns: Array) -> Array:
    """Pseudo-values [P] of a statistic of columns [P]: P s - (P - 1) s without the p-th.

    Their mean estimates s, its bias of order 1/P removed; their variance over P, its variance.
    """
    P = len(columns[0])
    without = [statistic(*(np.delete(column, p) for column in columns)) for p in range(P)]
    return P * statistic(*columns) - (P - 1) * np.array(without)


def deviation(values: Array) -> float:
    """Standard deviation over steps; 0 for one."""
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def correlation(a: Array, b: Array) -> float:
    """Pearson's r; 0 where one of the two is constant."""
    a, b = a - a.mean(), b - b.mean()
    norms = math.sqrt((a @ a) * (b @ b))
    return float(a @ b / norms) if norms > 0 else 0.0


DERIVED: dict[str, tuple[Callable[..., float], tuple[str, ...]]] = {
    "deviation": (deviation, ("cosine",)),
    "correlation": (correlation, ("cosine", "telemetry")),
}
