"""Score against guidance, a line a method; and the map of contrast weight against guidance."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from direct.common.text import plain

from ..contrasts import difference
from ..mechanism_ablations import BASE, GUIDANCE, METHODS, MULTIPLES, at, best, multiple
from ..schema import METRICS
from ..stats import Estimate
from ..tables import Line, Table
from .plots import GREY, as_svg

COLORS = ("#0072B2", "#009E73", "#D55E00", "#E69F00", "#CC79A7")  # Okabe and Ito
PANELS = ("PC", "SA", "AVG")


def lines(table: Table) -> str:
    """A column a metric: scores, and paired differences to SFT at the same guidance.

    A line and its band a method, a star where the method chose.
    """
    return as_svg(table.ablation.name, partial(_lines, table))


def _lines(table: Table, figure: Any) -> None:
    figure.set_size_inches(11, 7)
    axes = figure.subplots(2, len(PANELS))
    figure.subplots_adjust(left=0.05, right=0.995, bottom=0.15, top=0.95, wspace=0.2, hspace=0.35)
    found = {line.row.label: line for line in table.lines}
    colors = dict(zip([m for m in METHODS if m != BASE], COLORS, strict=True)) | {BASE: GREY}
    for (above, below), metric in zip(axes.T, PANELS, strict=True):
        for method, color in colors.items():
            _line(above, found, metric, method, color, "mean")
            _line(below, found, metric, method, color, "difference")
        below.axhline(0, color=colors["SFT"], linewidth=1.2)
        above.set_title(f"{METRICS[metric].title}: {table.judge}", fontsize=9)
        below.set_title(f"{METRICS[metric].title}: minus SFT at the same guidance", fontsize=9)
        for ax in (above, below):
            ax.set_xscale("log")
            ax.set_xticks(GUIDANCE, [f"{g:g}" for g in GUIDANCE])
            ax.minorticks_off()
            ax.set_xlabel("guidance")
            ax.grid(axis="y", linewidth=0.3)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=3, frameon=False, fontsize=8)


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


def heatmap(table: Table) -> str:
    """PC minus SFT's at the same guidance, and minus SFT's at its best; undecided cells hatched."""
    return as_svg(table.ablation.name, partial(_heatmaps, table))


def _heatmaps(table: Table, figure: Any) -> None:
    figure.set_size_inches(9.5, 4)
    axes = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.13, right=0.99, bottom=0.2, top=0.9, wspace=0.45)
    found = {line.row.label: line for line in table.lines}
    same = {
        (guidance, factor): _minus(table, found, at(guidance, multiple(factor)), partner)
        for factor in (0, *MULTIPLES)
        for guidance in GUIDANCE
        if (partner := at(guidance, "SFT"))
    }
    top = {key: _minus(table, found, at(key[0], multiple(key[1])), best("SFT")) for key in same}
    own_best = found[best("SFT")].chosen.partition(", ")[0]
    for ax, cells, against in zip(
        axes,
        (same, top),
        ("SFT at the same guidance", f"SFT at its best ({own_best or 'not chosen'})"),
        strict=True,
    ):
        _cells(ax, cells)
        ax.set_title(f"PC minus {against}: {table.judge}", fontsize=9)
    line = predicted_zero(table)
    if line:
        y, x = zip(*line, strict=True)
        places = np.interp(x, GUIDANCE, range(len(GUIDANCE)))
        axes[0].plot(places, y, "k--", linewidth=1.5)
    figure.text(
        0.01,
        0.02,
        "Hatched: undecided, the 95 % interval holds 0. Dashed: where theory has no difference "
        "(gain s at guidance g acts as guidance g (1 + s)).",
        fontsize=8,
    )


def _minus(table: Table, found: dict[str, Line], label: str, partner: str) -> Estimate | None:
    a, b = (found[name].values.get("PC") for name in (label, partner))
    if a is None or b is None:
        return None
    return difference(a.scores, b.scores, table.pools.get("PC"))


def _cells(ax: Any, cells: dict[tuple[float, int], Estimate | None]) -> None:
    import matplotlib
    from matplotlib.patches import Rectangle

    scale, factors = METRICS["PC"].scale, (0, *MULTIPLES)
    sizes = [abs(scale * d.mean) for d in cells.values() if d]
    colors, bound = matplotlib.colormaps["RdBu"], max([1.0, *sizes])
    for (guidance, factor), d in cells.items():
        x, y = GUIDANCE.index(guidance), factors.index(factor)
        value = scale * d.mean if d else 0.0
        undecided = d is not None and d.low <= 0 <= d.high and d.se > 0
        ax.add_patch(
            Rectangle(
                (x - 0.5, y - 0.5),
                1,
                1,
                facecolor=colors(0.5 + 0.4 * value / bound),
                edgecolor="#999999",
                hatch="//" if undecided else None,
                linewidth=0.5,
            )
        )
        text = f"{value:+z.1f}" if d else "–"
        ax.text(x, y, text, ha="center", va="center", fontsize=8, color="black")
    ax.set_xlim(-0.5, len(GUIDANCE) - 0.5)
    ax.set_ylim(-0.5, len(factors) - 0.5)
    ax.set_xticks(range(len(GUIDANCE)), [f"{g:g}" for g in GUIDANCE])
    ax.set_yticks(range(len(factors)), [multiple(factor) for factor in factors])
    ax.set_xlabel("guidance")


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
