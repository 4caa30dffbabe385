"""The scores of a sweep while it runs: each finished row against its partner, seed by seed.

They are not the table: without intervals, over the seeds that both rows have so far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from ..schema import METRICS, Ablation, Cell

USUAL, MOST = ("SA", "PC"), 2  # metrics that are shown, or as many of the table's own
LINES = 6


class Scores:
    """Means over prompts of finished cells, and what they say so far."""

    def __init__(self, table: Ablation, cells: Mapping[str, Cell]):
        self.table, self.cells = table, cells
        usual = [metric for metric in USUAL if metric in table.metrics]
        self.metrics = usual or list(table.metrics[:MOST])
        self.means: dict[tuple[str, int], dict[str, float]] = {}  # by row and seed

    def add(self, cell: str, scores: Mapping[str, Sequence[float]]) -> None:
        """Takes in a finished cell; one that only serves a choice has no place in the table."""
        own = self.cells[cell]
        found = {m: METRICS[m].scale * fmean(scores[m]) for m in self.metrics if m in scores}
        if found and not own.candidate:
            self.means[own.row, own.config.seed] = found

    def lines(self) -> tuple[str, ...]:
        """`0.1 minus 0.02, 3 seeds: SA -1.66, PC -1.58`, at most `LINES` of them."""
        found = []
        for row in self.table.rows:
            partner = row.against or self.table.baseline
            seeds = [
                seed
                for label, seed in self.means
                if label == row.label != partner and (partner, seed) in self.means
            ]
            if seeds:
                found.append(
                    f"{row.label} minus {partner}, {self._difference(row.label, partner, seeds)}"
                )
        return tuple(found[-LINES:])

    def _difference(self, label: str, partner: str, seeds: list[int]) -> str:
        pairs = [(self.means[label, seed], self.means[partner, seed]) for seed in seeds]
        told = []
        for metric in self.metrics:
            if all(metric in a and metric in b for a, b in pairs):
                mean = fmean(a[metric] - b[metric] for a, b in pairs)
                told.append(f"{metric} {mean:+.{METRICS[metric].decimals}f}")
        return f"{len(seeds)} seed{'s' * (len(seeds) > 1)}: {', '.join(told)}"
