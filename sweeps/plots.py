"""A table's plot: one panel per column, seeds as points, means with their intervals, as SVG."""

from __future__ import annotations

import io
import math
import re
from typing import Any

import numpy as np

from . import paper, stats
from .ablations import METRICS
from .progress import plain
from .tables import Table

PLOTTED = ("SA", "PC", "AVG", "PCcap", "Total")
OURS, GREY, PAPER = "#0072B2", "#777777", "#D55E00"  # Okabe and Ito: distinct to colour-blind eyes


def svg(table: Table) -> str:
    """Rows: scores, paired differences to the baseline, the paper's numbers.

    The same bytes for the same results: no date, fixed ids, text as text.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    metrics = [metric for metric in table.ablation.metrics if metric in PLOTTED]
    style: Any = {"svg.hashsalt": table.ablation.name, "svg.fonttype": "none", "font.size": 9,
             "text.parse_math": False, "axes.spines.top": False, "axes.spines.right": False}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(3.4 * len(metrics), 8.4))
        FigureCanvasSVG(figure)
        axes = figure.subplots(3, len(metrics), squeeze=False)
        # Fixed margins: matplotlib's automatic layouts draw everything several times.
        left, bottom, gap = (0.2, 0.06, 0.45) if table.ablation.axis else (0.4, 0.16, 0.95)
        figure.subplots_adjust(left=left / len(metrics), bottom=bottom, right=0.995, top=0.96,
                               wspace=0.25, hspace=gap)
        for column, metric in zip(axes.T, metrics, strict=True):
            _scores(column[0], table, metric)
            _differences(column[1], table, metric)
            _paper(column[2], table, metric)
        for ax, name in zip(axes[:, 0], ("score", "paired difference", "score"), strict=True):
            ax.set_ylabel(name)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return re.sub(r"[ \t]+\n", "\n", out.getvalue())


def _positions(table: Table) -> dict[str, float]:
    """Row label -> x: the value of the swept setting (zero has no logarithm), or its number."""
    axis = table.ablation.axis
    if axis is None:
        return {line.row.label: i for i, line in enumerate(table.lines)}
    values = {line.row.label: line.row.values.get(axis) for line in table.lines}
    return {label: float(value) for label, value in values.items() if value}


def _scores(ax: Any, table: Table, metric: str) -> None:
    found = {line.row.label: (value.scores.matrix, value.mean) for line in table.lines
             if (value := line.values.get(metric))}
    _draw(ax, table, metric, found)
    ax.set_title(f"{METRICS[metric].title}: {table.judge}", fontsize=9)
    if ax.get_legend_handles_labels()[1]:
        ax.legend(fontsize=7, frameon=False)


def _differences(ax: Any, table: Table, metric: str) -> None:
    found: dict[str, Any]
    found = {line.row.label: (value.differences, value.difference) for line in table.lines
             if (value := line.values.get(metric)) and value.difference}
    zero = np.zeros((1, 2))
    found[table.ablation.baseline] = zero, stats.estimate(zero)
    ax.axhline(0, color="black", linewidth=0.6)
    _draw(ax, table, metric, found)
    name = f"{table.ablation.header} = " * bool(table.ablation.axis) + table.ablation.baseline
    ax.set_title(f"{METRICS[metric].title}: minus {plain(name)}", fontsize=9)


def _draw(ax: Any, table: Table, metric: str, found: dict[str, Any]) -> None:
    """Per-seed points and means with intervals; a row without a place on the axis is a level."""
    scale, x = METRICS[metric].scale, _positions(table)
    levels = [label for label in found if label not in x]
    for label, (matrix, estimate) in found.items():
        mean, half = scale * estimate.mean, scale * estimate.half
        if label in levels:
            style = ("--", ":", "-.")[levels.index(label) % 3]
            ax.axhline(mean, color=GREY, linewidth=1, linestyle=style, label=plain(label))
            continue
        points = scale * matrix.mean(-1)
        ax.scatter([x[label]] * len(points), points, s=12, color=OURS, alpha=0.45, linewidths=0)
        bar = [half] if math.isfinite(half) else None
        ax.errorbar([x[label]], [mean], bar, fmt="o", color=OURS, markersize=4, capsize=3)
    means = sorted((x[label], scale * found[label][1].mean) for label in found if label in x)
    if table.ablation.axis and means:
        ax.plot(*zip(*means, strict=True), color=OURS, linewidth=1)
    _decorate(ax, table, x)


def _paper(ax: Any, table: Table, metric: str) -> None:
    x = _positions(table)
    points = sorted((x[label], row[metric]) for label, row in table.ablation.published.items()
                    if label in x and metric in row)
    if not points:
        ax.set_axis_off()
        return
    ax.plot(*zip(*points, strict=True), marker="s", markersize=4, linewidth=1, color=PAPER,
            linestyle="-" if table.ablation.axis else "none")
    ax.set_title(f"{METRICS[metric].title}: {paper.SCALE}", fontsize=9)
    _decorate(ax, table, x)


def _decorate(ax: Any, table: Table, x: dict[str, float]) -> None:
    if table.ablation.axis:
        ax.set_xscale("log")
        ax.margins(x=0.12)
        ax.set_xlabel(table.ablation.header)
    ax.set_xticks(list(x.values()), [plain(label) for label in x])
    if not table.ablation.axis:
        ax.set_xlim(-0.5, len(x) - 0.5)
        ax.tick_params(axis="x", rotation=30)
        for tick in ax.get_xticklabels():
            tick.set_ha("right")
    ax.minorticks_off()
    ax.grid(axis="y", linewidth=0.3)
