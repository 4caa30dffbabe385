"""A table's plot: one column of panels per metric, seeds as points, means with intervals, as SVG.

A swept setting lies on a logarithmic axis, points of one training run on its steps; a table whose
rows are methods becomes a forest plot, labels at the left.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from direct.common.text import plain

from .. import paper, stats
from ..schema import METRICS, Row
from ..table import Table
from . import sheet
from .sheet import Print

PLOTTED = ("SA", "PC", "AVG", "PCcap", "Total")
GREY, PAPER = "#777777", "#D55E00"  # Okabe and Ito: distinct to colour-blind eyes
SERIES = ("#0072B2", "#009E73", "#CC79A7")
DODGE = 0.025  # of the axis, between a mean and its seeds, and between series


@dataclass(frozen=True)
class Frame:
    """Where the rows stand. A row without a place (a swept setting at zero) is a level."""

    places: dict[str, tuple[str, float]]  # label -> series, place on the axis
    levels: tuple[str, ...]
    kind: str  # "log", "steps" or "forest"
    name: str  # of the axis

    @property
    def series(self) -> list[str]:
        return list(dict.fromkeys(series for series, _ in self.places.values()))

    def moved(self, place: float, steps: float) -> float:
        """`place`, a few steps of `DODGE` along the axis; in a forest plot, parts of a row."""
        if self.kind == "forest":
            return place - 0.2 * steps
        places = [place for _, place in self.places.values()]
        low, high = min(places), max(places)
        if self.kind == "log":
            return place * (high / low) ** (DODGE * steps)
        return place + (high - low) * DODGE * steps


def panels(table: Table, figure: Any, size: Print | None = None) -> None:
    """Rows of panels: scores, paired differences, and the paper's numbers where it has them."""
    own = [m for m in table.ablation.metrics if m in PLOTTED] or list(table.ablation.metrics)
    metrics = [m for m in own if size is None or m in size.metrics] or own[: len(SERIES)]
    frame = _frame(table)
    draws = [_scores, _differences] + [_paper] * bool(table.ablation.published)
    axes = _grid(figure, frame, len(draws), len(metrics), size)
    for row, draw in zip(axes, draws, strict=True):
        for ax, metric in zip(row, metrics, strict=True):
            draw(ax, table, metric, frame)
    _legend(figure, frame)


def _frame(table: Table) -> Frame:
    axis, lines = table.ablation.axis, [x for x in table.lines if x.cells]
    if any(x.row.curve for x in lines):
        found = {
            x.row.label: (x.row.curve, float(x.cells[0].config.train.steps))
            for x in lines
            if x.row.curve
        }
        kind, name = "steps", "training steps"
    elif axis:  # zero has no logarithm
        found = {
            x.row.label: (_series(x.row), float(value))
            for x in lines
            if (value := x.row.values.get(axis))
        }
        kind, name = "log", table.ablation.header
    else:
        found = {x.row.label: ("", float(i)) for i, x in enumerate(lines)}
        kind, name = "forest", ""
    levels = tuple(x.row.label for x in lines if x.row.label not in found)
    return Frame(found, levels, kind, name)


def _series(row: Row) -> str:
    """`8, laws not excluded` stands on the curve `laws not excluded`."""
    return row.label.partition(", ")[2]


def _grid(figure: Any, frame: Frame, rows: int, columns: int, size: Print | None) -> Any:
    """A row of axes for each thing that is drawn, and a column for each metric."""
    if frame.kind == "forest":
        left = 0.2 + 0.068 * max(len(label) for label in frame.places)
        tall, between, wide, gap = 0.25 + 0.24 * len(frame.places), 0.65, 2.3, 0.25
    else:
        left, tall, between, wide, gap = 0.65, 2.0, 0.9, 2.75, 0.65
    if size:  # the paper's width, whatever stands in it
        left = min(0.8 * left, 0.52 * size.width)
        tall, between, gap = 0.75 * tall, 0.65, 0.6 * gap
    bottom = 0.55 + 0.3 * (len(frame.levels) + len(frame.series) > 1)  # with a legend
    margins = left, 0.1, bottom, 0.35
    axes = sheet.panels(figure, (rows, columns), margins, (gap, between), (wide, tall), size)
    if frame.kind != "forest":
        for ax, name in zip(axes[:, 0], ("score", "paired difference", "score"), strict=False):
            ax.set_ylabel(name)
    return axes


def _scores(ax: Any, table: Table, metric: str, frame: Frame) -> None:
    found = {
        x.row.label: (value.scores.matrix, value.mean)
        for x in table.lines
        if (value := x.values.get(metric))
    }
    _draw(ax, found, metric, frame)
    ax.set_title(f"{METRICS[metric].title}: {table.judge}", fontsize="medium")


def _differences(ax: Any, table: Table, metric: str, frame: Frame) -> None:
    """To each row's partner. Along training, only what has a partner at the same step."""
    found: dict[str, Any] = {
        x.row.label: (value.differences, value.difference)
        for x in table.lines
        if (value := x.values.get(metric))
        and value.difference
        and (frame.kind != "steps" or x.row.against)
    }
    if frame.kind != "steps":
        zero = np.zeros((1, 2))
        found[table.ablation.baseline] = zero, stats.estimate(zero)
    (ax.axvline if frame.kind == "forest" else ax.axhline)(0, color="black", linewidth=0.6)
    _draw(ax, found, metric, frame)
    name = table.ablation.baseline
    name = f"{table.ablation.header} = {name}" if table.ablation.axis else name
    name = "its partner" if any(x.row.against for x in table.lines) else name
    name = f"{frame.series[0]} at the same step" if frame.kind == "steps" else name
    ax.set_title(f"{METRICS[metric].title}: minus {plain(name)}", fontsize="medium")


def _paper(ax: Any, table: Table, metric: str, frame: Frame) -> None:
    points = sorted(
        (frame.places[label][1], row[metric])
        for label, row in table.ablation.published.items()
        if label in frame.places and metric in row
    )
    if not points:
        ax.set_axis_off()
        return
    style = {"marker": "s", "markersize": 4, "linewidth": 1, "color": PAPER}
    x, y = np.array(points).T
    if frame.kind == "forest":
        ax.plot(y, x, linestyle="none", **style)
    else:
        ax.plot(x, y, **style)
    ax.set_title(f"{METRICS[metric].title}: {paper.SCALE}", fontsize="medium")
    _decorate(ax, frame)


def _draw(ax: Any, found: dict[str, Any], metric: str, frame: Frame) -> None:
    """Per-seed points beside means with intervals; levels as lines across."""
    scale, flat = METRICS[metric].scale, frame.kind == "forest"
    for label in frame.levels:
        if label in found:
            ax.axhline(
                scale * found[label][1].mean,
                color=GREY,
                linewidth=1,
                linestyle=_dashes(frame, label),
            )
    for k, series in enumerate(frame.series):
        color, curve = SERIES[k % len(SERIES)], []
        shift = 2 * k - (len(frame.series) - 1)
        for label, (own, place) in frame.places.items():
            if own != series or label not in found:
                continue
            matrix, estimate = found[label]
            at, beside = frame.moved(place, shift), frame.moved(place, shift - 1)
            mean, half = scale * estimate.mean, scale * estimate.half
            seeds = scale * matrix.mean(-1)
            points = np.full(len(seeds), beside), seeds
            ax.scatter(
                *(reversed(points) if flat else points), s=10, color=color, alpha=0.5, linewidths=0
            )
            bar = {"xerr" if flat else "yerr": [half] if math.isfinite(half) else None}
            ax.errorbar(
                *([mean], [at]) if flat else ([at], [mean]),
                **bar,
                fmt="o",
                color=color,
                markersize=4,
                capsize=2.5,
            )
            curve.append((at, mean))
        if not flat and curve:
            ax.plot(*zip(*sorted(curve), strict=True), color=color, linewidth=1)
    _decorate(ax, frame)


def mathematical(name: str) -> str:
    """`λ_hard` as matplotlib's mathematics; any other name as it is."""
    found = re.fullmatch(r"λ_(\w+)", name)
    return rf"$\lambda_{{\mathrm{{{found[1]}}}}}$" if found else name


def _dashes(frame: Frame, label: str) -> Any:
    return ("--", ":", "-.")[frame.levels.index(label) % 3]


def _decorate(ax: Any, frame: Frame) -> None:
    ax.tick_params(labelsize="medium")
    if frame.kind == "forest":
        first = ax.get_subplotspec().is_first_col()
        ax.set_yticks(
            range(len(frame.places)), [plain(label) for label in frame.places] if first else []
        )
        ax.tick_params(axis="y", length=0)
        ax.set_ylim(len(frame.places) - 0.5, -0.5)
        ax.grid(axis="x", linewidth=0.3)
        return
    ticks = {place: f"{place:g}" for _, place in frame.places.values()}
    if frame.kind == "log":
        ax.set_xscale("log")
    ax.margins(x=0.14)
    name = mathematical(frame.name)
    if name == frame.name:
        ax.set_xlabel(name)
    else:  # large, for its index is smaller by a third
        ax.set_xlabel(name, parse_math=True, fontsize=9)
    ax.set_xticks(list(ticks), list(ticks.values()))
    ax.minorticks_off()
    ax.grid(axis="y", linewidth=0.3)


def _legend(figure: Any, frame: Frame) -> None:
    """One legend for all panels, at the foot."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=GREY, linewidth=1, linestyle=_dashes(frame, label), label=plain(label))
        for label in frame.levels
    ]
    if len(frame.series) > 1:
        handles += [
            Line2D(
                [],
                [],
                color=SERIES[k % len(SERIES)],
                marker="o",
                markersize=4,
                label=plain(series) or "the paper's rows",
            )
            for k, series in enumerate(frame.series)
        ]
    if handles:
        figure.legend(
            handles=handles,
            loc="lower center",
            ncols=len(handles),
            frameon=False,
            fontsize="medium",
        )
