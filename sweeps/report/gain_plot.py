"""The gain that each training learnt, as a share of the predicted one, over the noise level."""

from __future__ import annotations

from functools import partial
from typing import Any

from direct.common.text import plain

from ..tables import Table
from .plots import SERIES, as_svg

STYLES = ("-", "--", ":", "-.")


def svg(table: Table) -> str:
    """A panel for the trainings of each table."""
    return as_svg(table.ablation.name, partial(_panels, table))


def _panels(table: Table, figure: Any) -> None:
    groups: dict[str, list[tuple[str, Any]]] = {}
    for line in table.lines:
        if "share" in line.values:
            group, _, label = line.row.label.partition(": ")
            own = line.values["share"].scores.matrix.mean(0)  # over seeds
            groups.setdefault(group, []).append((label, own))
    levels = [float(unit.removeprefix("t ")) for unit in table.units]
    count = max(1, len(groups))
    figure.set_size_inches(3.4 * count, 4.6)
    axes = figure.subplots(1, count, sharey=True, squeeze=False)[0]
    figure.subplots_adjust(left=0.16 / count, right=0.995, bottom=0.44, top=0.92, wspace=0.08)
    for ax, (group, curves) in zip(axes, groups.items(), strict=False):
        for k, (label, share) in enumerate(curves):
            color, style = SERIES[k % len(SERIES)], STYLES[k // len(SERIES) % len(STYLES)]
            ax.plot(levels, share, style, color=color, marker="o", markersize=3, label=plain(label))
        ax.axhline(1, color="black", linewidth=0.6)
        ax.set_title(plain(group), fontsize=9)
        ax.set_xlabel("noise level t")
        ax.set_xticks(levels)
        ax.grid(axis="y", linewidth=0.3)
        ax.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.17))
    axes[0].set_ylabel("gain learnt / predicted")
