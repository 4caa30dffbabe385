"""The gain that each training learnt, as a share of the predicted one, over the noise level."""

from __future__ import annotations

from typing import Any

from direct.common.text import plain

from ..table import Table
from .plots import SERIES
from .sheet import Print, entitle, panels

STYLES = ("-", "--", ":", "-.")


def draw(table: Table, figure: Any, size: Print | None = None) -> None:
    """A panel for the trainings of each table; a paper's column has room for the first."""
    groups: dict[str, list[tuple[str, Any]]] = {}
    for line in table.lines:
        if "share" in line.values:
            group, _, label = line.row.label.partition(": ")
            own = line.values["share"].scores.matrix.mean(0)  # over seeds
            groups.setdefault(group, []).append((label, own))
    levels = [float(unit.removeprefix("t ")) for unit in table.units]
    if size and size.width < 5:
        groups = dict(list(groups.items())[:1])
    count = max(1, len(groups))
    columns, tall = min(count, 3) if size else count, 1.5 if size else 2.3
    below = 0.45 + 0.17 * max([1, *map(len, groups.values())])  # an axis and its legend
    shape, margins = (-(-count // columns), columns), (0.6, 0.05, below, 0.35)
    grid = panels(figure, shape, margins, (0.1, below + 0.35), (3.1, tall), size, sharey=True)
    axes = grid.flat[:count]
    for ax in grid.flat[count:]:
        ax.set_axis_off()
    for ax, (group, curves) in zip(axes, groups.items(), strict=False):
        for k, (label, share) in enumerate(curves):
            color, style = SERIES[k % len(SERIES)], STYLES[k // len(SERIES) % len(STYLES)]
            ax.plot(levels, share, style, color=color, marker="o", markersize=3, label=plain(label))
        ax.axhline(1, color="black", linewidth=0.6)
        entitle(ax, plain(group))
        ax.set_xlabel("noise level t")
        ax.set_xticks(levels)
        ax.grid(axis="y", linewidth=0.3)
        anchor = (0.5, -0.35 / tall)
        ax.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=anchor)
    for ax in grid[:, 0]:
        ax.set_ylabel("gain learnt / predicted")
