"""Differences on a plane of two settings: the plot of a grid, and of other such maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from direct.common.text import plain

from ..experiments import words
from ..schema import METRICS, plane
from ..stats import Estimate, estimate
from ..table import Table
from .sheet import Print, entitle, note, panels

HATCHED = "Hatched: undecided, the cell's own 95 % interval (not adjusted) holds 0."
Cells = Mapping[tuple[int, int], Estimate | None]  # by column and row; None: no result


def draw(table: Table, figure: Any, size: Print | None = None, metric: str = "") -> None:
    """A metric minus the baseline's; by default the table's first. The baseline is outlined."""
    metric = metric or table.ablation.metrics[0]
    (down, rows), (across, columns) = plane(table.ablation.rows).items()
    found: dict[tuple[int, int], Estimate | None] = {}
    for line in table.lines:
        value, values = line.values.get(metric), line.row.values
        place = columns.index(values[across]), rows.index(values[down])
        found[place] = value.difference if value else None
        if line.row.label == table.ablation.baseline:
            found[place], own = estimate(np.zeros((1, 2))), place
    names = [[words("", x)[1:] for x in values] for values in (columns, rows)]
    left = 0.5 + 0.075 * max(map(len, names[1]))
    panel = max(0.75 * len(columns), 2.2), 0.4 * len(rows)
    (ax,) = panels(figure, (1, 1), (left, 0.1, 0.7, 0.5), (0, 0), panel, size)[0]
    cells(ax, found, names[0], names[1], metric)
    _outline(ax, own)
    ax.set_xlabel(plain(across))
    ax.set_ylabel(plain(down))
    title = f"{METRICS[metric].title} minus {plain(table.ablation.baseline)}: {table.judge}"
    entitle(ax, title)
    note(figure, HATCHED)


def cells(
    ax: Any,
    found: Cells,
    across: Sequence[str],
    down: Sequence[str],
    metric: str,
    decimals: int | None = None,
) -> None:
    """Coloured and numbered cells in the metric's printed units: blue is better, red is worse."""
    import matplotlib
    from matplotlib.patches import Rectangle

    own = METRICS[metric]
    decimals = own.decimals if decimals is None else decimals
    sizes = [abs(own.scale * d.mean) for d in found.values() if d]
    # A map of differences that are all small is pale.
    colors, bound = matplotlib.colormaps["RdBu"], max([own.scale / 100, *sizes])
    for (x, y), d in found.items():
        value = own.scale * d.mean if d else 0.0
        ax.add_patch(
            Rectangle(
                (x - 0.5, y - 0.5),
                1,
                1,
                facecolor=colors(0.5 + 0.4 * (own.better or 1) * value / bound),
                edgecolor="#999999",
                hatch="//" if d and undecided(d) else None,
                linewidth=0.5,
            )
        )
        text = f"{value:+z.{decimals}f}" if d else "–"
        ax.text(x, y, text, ha="center", va="center", fontsize="medium", color="black")
    ax.set_xlim(-0.5, len(across) - 0.5)
    ax.set_ylim(-0.5, len(down) - 0.5)
    ax.set_xticks(range(len(across)), list(across))
    ax.set_yticks(range(len(down)), list(down))


def undecided(d: Estimate) -> bool:
    return d.low <= 0 <= d.high and d.se > 0


def _outline(ax: Any, place: tuple[int, int]) -> None:
    from matplotlib.patches import Rectangle

    x, y = place
    corner = x - 0.48, y - 0.48
    ax.add_patch(Rectangle(corner, 0.96, 0.96, fill=False, edgecolor="black", linewidth=1.5))
