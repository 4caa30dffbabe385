"""A table's plot: one panel per column, seeds as points, means with their intervals, as SVG."""

from __future__ import annotations

import io
import re
from typing import Any

from . import paper
from .ablations import METRICS
from .tables import Line, Table

OURS, GREY, PAPER = "#0072B2", "#777777", "#D55E00"  # Okabe and Ito: distinct to colour-blind eyes


def svg(table: Table) -> str:
    """The same bytes for the same results: no date, fixed ids, text as text."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    published = [m for m in table.ablation.metrics
                 if any(m in row for row in table.ablation.published.values())]
    columns = len(table.ablation.metrics)
    wide = 3.4 if table.ablation.axis else 3.0
    with matplotlib.rc_context({"svg.hashsalt": table.ablation.name, "svg.fonttype": "none",
                                "font.size": 9, "axes.spines.top": False,
                                "axes.spines.right": False}):
        figure = Figure(figsize=(wide * columns, 5.6), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots(2, columns, squeeze=False, sharex=table.ablation.axis is not None)
        for ax, metric in zip(axes[0], table.ablation.metrics, strict=True):
            _ours(ax, table, metric)
        for ax, metric in zip(axes[1], table.ablation.metrics, strict=True):
            if metric in published:
                _paper(ax, table, metric)
            else:
                ax.set_axis_off()
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return re.sub(r"[ \t]+\n", "\n", out.getvalue())


def _positions(table: Table) -> dict[str, float]:
    """Row label -> x: the value of the swept setting, or the row's number. Zero has no logarithm."""
    axis = table.ablation.axis
    if axis is None:
        return {line.row.label: i for i, line in enumerate(table.lines)}
    values = {line.row.label: line.row.values.get(axis) for line in table.lines}
    return {label: float(value) for label, value in values.items() if value}


def _ours(ax: Any, table: Table, metric: str) -> None:
    scale, x = METRICS[metric].scale, _positions(table)
    for line in table.lines:
        value = line.values.get(metric)
        if value is None:
            continue
        mean, half = scale * value.mean.mean, scale * value.mean.half
        if line.row.label not in x:  # a reference without a place on the axis
            ax.axhline(mean, color=GREY, linewidth=1, linestyle=_dashes(table, line),
                       label=line.row.label)
            continue
        at = x[line.row.label]
        ax.scatter([at] * len(value.scores.seeds), scale * value.scores.matrix.mean(-1), s=12, color=OURS,
                   alpha=0.45, linewidths=0)
        if half == half:
            ax.errorbar([at], [mean], [half], fmt="o", color=OURS, markersize=4, capsize=3)
    means = [(x[n.row.label], scale * n.values[metric].mean.mean) for n in table.lines
             if n.row.label in x and metric in n.values]
    if table.ablation.axis and means:
        ax.plot(*zip(*sorted(means), strict=True), color=OURS, linewidth=1)
    ax.set_title(f"{METRICS[metric].title}: {table.judge}", fontsize=9)
    _decorate(ax, table, x)
    if ax.get_legend_handles_labels()[1]:
        ax.legend(fontsize=7, frameon=False)


def _paper(ax: Any, table: Table, metric: str) -> None:
    x = _positions(table)
    points = [(x[label], row[metric]) for label, row in table.ablation.published.items()
              if label in x and metric in row]
    if points:
        ax.plot(*zip(*sorted(points), strict=True), marker="s", markersize=4, linewidth=1,
                color=PAPER, linestyle="-" if table.ablation.axis else "none")
    ax.set_title(f"{METRICS[metric].title}: {paper.SCALE}", fontsize=9)
    _decorate(ax, table, x)


def _dashes(table: Table, line: Line) -> Any:
    references = [other for other in table.lines if other.row.reference]
    return ["--", ":", "-."][references.index(line) % 3] if line in references else "-"


def _decorate(ax: Any, table: Table, x: dict[str, float]) -> None:
    if table.ablation.axis:
        ax.set_xscale("log")
        ax.set_xlabel(table.ablation.header)
    ax.set_xticks(list(x.values()), list(x), rotation=0 if table.ablation.axis else 30,
                  ha="center" if table.ablation.axis else "right")
    ax.minorticks_off()
    ax.margins(x=0.12)
    ax.grid(axis="y", linewidth=0.3)
