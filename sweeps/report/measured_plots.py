"""The plots of Tables S4 and S6: what a step costs, and how the gradients lie to each other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from direct.common.text import plain

from .. import paper, stats
from ..stats import Array
from ..table import Line, Table
from .plots import GREY, PAPER, SERIES
from .sheet import Print, entitle, panels

BINS = 6  # of |δ|²/n, each of as many samples


def draw(table: Table, figure: Any, size: Print | None = None) -> None:
    """A row of panels; in a paper's column, one above the other."""
    draws, widths = [_histogram, _telemetry, _proposition], [1, 1, 1]
    if table.ablation.name == "cost":
        draws, widths = [_seconds, _memory], [2, 1]
    column = size is not None and size.width < 5
    shape = (len(draws), 1) if column else (1, len(draws))
    below = 0.55 + 0.14 * -(-len(table.lines) // (1 if size else 2))  # an axis and its legend
    tall = 1.3 if column else 1.6 if size else 2.7
    margins, panel = (0.55, 0.1, below, 0.4), (11.3 / len(draws), tall)
    ratios = {} if column else {"width_ratios": widths}
    axes = panels(figure, shape, margins, (0.6, below + 0.25), panel, size, **ratios)
    for ax, one in zip(axes.flat, draws, strict=True):
        one(ax, table)
        handles, _ = ax.get_legend_handles_labels()
        if handles:  # below the axis, where it hides nothing
            ax.legend(
                handles=handles,
                fontsize=7,
                frameon=False,
                ncols=1 if size else 2,
                loc="upper center",
                bbox_to_anchor=(0.5, -0.4 / tall),
            )


def _with(table: Table, metric: str) -> list[Line]:
    return [line for line in table.lines if metric in line.values]


def _colored(lines: Iterable[Line]) -> Iterable[tuple[str, Line]]:
    return zip((*SERIES, GREY), lines, strict=False)


# Alignment ----------------------------------------------------------------------------------------


def _histogram(ax: Any, table: Table) -> None:
    """Cosines of all steps and seeds; the paper's mean and deviation above."""
    lines = _with(table, "cosine")
    values = [line.values["cosine"].scores.matrix.ravel() for line in lines]
    if values:
        edges = np.linspace(min(v.min() for v in values), max(v.max() for v in values), 31)
        for (color, line), own in zip(_colored(lines), values, strict=False):
            ax.hist(own, edges, histtype="step", color=color, label=plain(line.row.label))
    top = ax.get_ylim()[1]
    for (color, line), height in zip(_colored(lines), (1.06, 1.14), strict=False):
        if published := table.ablation.published.get(line.row.label):
            ax.errorbar(
                [published["cosine"]],
                [height * top],
                xerr=[published["deviation"]],
                fmt="s",
                markersize=4,
                capsize=3,
                color=PAPER,
                markerfacecolor=color,
            )
    ax.axvline(0, color="black", linewidth=0.6)
    entitle(ax, f"cosine by step: {table.judge}; squares: {paper.SCALE}")
    ax.set_xlabel("cosine of the two gradients")
    ax.set_ylabel("steps")
    ax.set_ylim(0, 1.2 * top)


def _telemetry(ax: Any, table: Table) -> None:
    for color, line in _colored(_with(table, "telemetry")[:3]):
        told, cosine = (line.values[m].scores.matrix.ravel() for m in ("telemetry", "cosine"))
        r = line.values["correlation"].mean.mean
        ax.scatter(
            told,
            cosine,
            s=5,
            alpha=0.5,
            linewidths=0,
            color=color,
            label=f"{plain(line.row.label)}, r = {r:.2f}",
        )
    ax.axhline(0, color="black", linewidth=0.6)
    ax.axvline(0, color="black", linewidth=0.6)
    entitle(ax, "the kernel's telemetry against the cosine")
    ax.set_xlabel("cosine in output space")
    ax.set_ylabel("cosine over all parameters")


def _proposition(ax: Any, table: Table) -> None:
    """Mean a of the samples in each bin of |δ|²/n (without noise), with 95 % intervals."""
    rows = [line for line in table.lines if line.row.against == "other cluster"]
    for color, line in _colored(rows):
        found = samples(table, line.row.reading)
        if len(found) < 2 * BINS:
            continue
        bins = np.array_split(found[np.argsort(found[:, 1], kind="stable")], BINS)
        means = [stats.estimate(bin_[:, :1].T) for bin_ in bins]
        ax.errorbar(
            [bin_[:, 1].mean() for bin_ in bins],
            [m.mean for m in means],
            [m.half for m in means],
            fmt="o-",
            linewidth=1,
            markersize=3,
            capsize=2,
            color=color,
            label=plain(line.row.label),
        )
    ax.axhline(0, color="black", linewidth=0.6)
    entitle(ax, "Proposition 1, measured")
    ax.set_xlabel("|δ|²/n without noise")
    ax.set_ylabel("a (above 0: aligned)")


def samples(table: Table, reading: str) -> Array:
    """[N, 2] a and |δ|²/n of every contrasted sample, over all cells and steps."""
    pairs = [
        pair
        for cell in table.samples
        for steps in zip(
            cell.get(f"{reading}.a", []), cell.get(f"{reading}.delta_x", []), strict=True
        )
        for pair in zip(*steps, strict=True)
        if None not in pair
    ]
    return np.array(pairs, float).reshape(-1, 2)


# Cost ---------------------------------------------------------------------------------------------


def _seconds(ax: Any, table: Table) -> None:
    parts = [m for m in table.ablation.metrics if m not in ("memory_gb", "seconds_per_iteration")]
    _bars(ax, table, ["seconds_per_iteration", *parts], ["whole", *parts])
    entitle(ax, f"seconds per iteration, and their parts: {table.judge}")


def _memory(ax: Any, table: Table) -> None:
    _bars(ax, table, ["memory_gb"], ["peak memory (GB)"])
    entitle(ax, "peak memory")


def _bars(ax: Any, table: Table, metrics: list[str], names: list[str]) -> None:
    for k, (color, line) in enumerate(_colored(_with(table, metrics[0]))):
        found = [line.values[metric].mean for metric in metrics]
        half = [m.half if np.isfinite(m.half) else 0.0 for m in found]
        ax.bar(
            np.arange(len(metrics)) + 0.27 * (k - 1),
            [m.mean for m in found],
            0.25,
            yerr=half,
            capsize=2,
            color=color,
            label=plain(line.row.label),
        )
    ax.set_xticks(range(len(metrics)), names)
    ax.grid(axis="y", linewidth=0.3)
