"""Score against guidance, a line a method; and the map of contrast weight against guidance."""

from __future__ import annotations

from typing import Any

import numpy as np

from direct.common.text import plain

from ..contrasts import difference
from ..mechanism_ablations import BASE, GUIDANCE, METHODS, MULTIPLES, at, best, multiple
from ..schema import METRICS
from ..stats import Estimate
from ..table import Line, Table
from .heatmap import HATCHED, cells
from .plots import GREY
from .sheet import Print, entitle, note, panels

COLORS = ("#0072B2", "#009E73", "#D55E00", "#E69F00", "#CC79A7")  # Okabe and Ito
PANELS = ("PC", "SA", "AVG")


def lines(table: Table, figure: Any, size: Print | None = None) -> None:
    """A column a metric: scores, and paired differences to SFT at the same guidance.

    A line and its band a method, a star where the method chose.
    """
    metrics = [metric for metric in PANELS if size is None or metric in size.metrics]
    legend = 0.2 * -(-len(METHODS) // _columns(size))
    margins, tall = (0.5, 0.1, 0.5 + legend, 0.5), 1.6 if size else 2.6
    axes = panels(figure, (2, len(metrics)), margins, (0.4, 0.9), (3.2, tall), size)
    found = {line.row.label: line for line in table.lines}
    colors = dict(zip([m for m in METHODS if m != BASE], COLORS, strict=True)) | {BASE: GREY}
    for (above, below), metric in zip(axes.T, metrics, strict=True):
        for method, color in colors.items():
            _line(above, found, metric, method, color, "mean")
            _line(below, found, metric, method, color, "difference")
        below.axhline(0, color=colors["SFT"], linewidth=1.2)
        entitle(above, f"{METRICS[metric].title}: {table.judge}")
        entitle(below, f"{METRICS[metric].title}: minus SFT at the same guidance")
        for ax in (above, below):
            ax.set_xscale("log")
            ax.set_xticks(GUIDANCE, [f"{g:g}" for g in GUIDANCE])
            ax.minorticks_off()
            ax.set_xlabel("guidance")
            ax.grid(axis="y", linewidth=0.3)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="lower center",
        ncols=_columns(size),
        frameon=False,
        fontsize="medium",
    )


def _columns(size: Print | None) -> int:
    """Of the legend: what fits beside each other."""
    return 1 if size and size.width < 5 else 2 if size else 3


def _line(ax: Any, found: dict[str, Line], metric: str, method: str, color: str, what: str) -> None:
    """`what`: the estimate of a value that is drawn."""
    points = [
        (guidance, estimate)
        for guidance in GUIDANCE
        if (value := found[at(guidance, method)].values.get(metric))
        and (estimate := getattr(value, what))
    ]
    if not points:
        return
    scale = METRICS[metric].scale
    x = [guidance for guidance, _ in points]
    low, mean, high = (
        [scale * getattr(d, name) for _, d in points] for name in ("low", "mean", "high")
    )
    ax.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
    ax.plot(x, mean, "o-", color=color, markersize=3, linewidth=1.2, label=plain(method))
    chosen = found[best(method)].chosen
    for guidance, value in zip(x, mean, strict=True):
        if chosen == at(guidance, method):
            ax.plot([guidance], [value], "*", color=color, markersize=11)


# The map ------------------------------------------------------------------------------------------


def heatmap(table: Table, figure: Any, size: Print | None = None) -> None:
    """PC minus SFT's at the same guidance, and minus SFT's at its best; undecided cells hatched."""
    beside = size is None or size.width > 5
    shape, panel = ((1, 2) if beside else (2, 1)), (3.4, 1.7 if size else 2.8)
    axes = panels(figure, shape, (1.25, 0.1, 0.9, 0.5), (1.4, 0.9), panel, size).flat
    found = {line.row.label: line for line in table.lines}
    same = {
        (guidance, factor): _minus(table, found, at(guidance, multiple(factor)), partner)
        for factor in (0, *MULTIPLES)
        for guidance in GUIDANCE
        if (partner := at(guidance, "SFT"))
    }
    top = {key: _minus(table, found, at(key[0], multiple(key[1])), best("SFT")) for key in same}
    own_best = found[best("SFT")].chosen.partition(", ")[0]
    for ax, differences, against in zip(
        axes,
        (same, top),
        ("SFT at the same guidance", f"SFT at its best ({own_best or 'not chosen'})"),
        strict=True,
    ):
        places = {
            (GUIDANCE.index(guidance), (0, *MULTIPLES).index(factor)): d
            for (guidance, factor), d in differences.items()
        }
        down = [multiple(factor) for factor in (0, *MULTIPLES)]
        cells(ax, places, [f"{g:g}" for g in GUIDANCE], down, "PC", decimals=1)
        ax.set_xlabel("guidance")
        entitle(ax, f"PC minus {against}: {table.judge}")
    line = predicted_zero(table)
    if line:
        y, x = zip(*line, strict=True)
        axes[0].plot(np.interp(x, GUIDANCE, range(len(GUIDANCE))), y, "k--", linewidth=1.5)
    note(
        figure,
        f"{HATCHED} Dashed: where theory has no difference (gain s at guidance g acts as guidance "
        "g (1 + s)).",
    )


def _minus(table: Table, found: dict[str, Line], label: str, partner: str) -> Estimate | None:
    a, b = (found[name].values.get("PC") for name in (label, partner))
    if a is None or b is None:
        return None
    return difference(a.scores, b.scores, table.pools.get("PC"))


def predicted_zero(table: Table) -> list[tuple[int, float]]:
    """(row of the map, guidance) where theory has no difference to SFT at the same guidance.

    Where the reference clip answers as the empty prompt does, v + x_ref = v - v_neg, T5 is
    guidance g (1 + s). So contrast at g scores as SFT at g (1 + s), on SFT's own curve, which is
    interpolated between its guidances (monotone cubic). No score of a contrast enters.
    """
    from scipy.interpolate import PchipInterpolator
    from scipy.optimize import brentq

    found = {line.row.label: line for line in table.lines}
    known = [
        (g, value.mean.mean) for g in GUIDANCE if (value := found[at(g, "SFT")].values.get("PC"))
    ]
    if len(known) < len(GUIDANCE):
        return []
    curve = PchipInterpolator(*zip(*known, strict=True))
    zeros = []
    for row, factor in enumerate(MULTIPLES, start=1):
        s = found[at(1, multiple(factor))].cells[0].config.loss.gain

        def ahead(g: float, s: float = s) -> float:
            return float(curve(g * (1 + s)) - curve(g))

        low, high = GUIDANCE[0], GUIDANCE[-1] / (1 + s)
        if ahead(low) > 0 > ahead(high):
            zeros.append((row, float(brentq(ahead, low, high))))
    return zeros
