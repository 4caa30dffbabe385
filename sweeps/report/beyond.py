"""Which rows of a table of ours help, in plain words, from its statistics alone."""

from __future__ import annotations

from direct.common.text import plain

from ..schema import METRICS
from ..table import Table, Value

ALPHA = 0.05
OUTCOMES = ("helps", "hurts", "alike", "not resolved", "not run")


def outcome(value: Value | None, scale: float, margin: float) -> str:
    """One of `OUTCOMES`, for a declared contrast. `margin` in printed units, `scale` of the metric.

    It helps or hurts where Holm's adjusted p is below ALPHA. It is alike where the 95 % interval of
    the difference lies within the margin (two one-sided tests at 2.5 %, each row by itself).
    """
    d = value.difference if value else None
    if value is None or d is None or value.p_holm is None:
        return "not run"
    if value.p_holm < ALPHA:
        return "helps" if d.mean > 0 else "hurts"
    return "alike" if -margin < scale * d.low and scale * d.high < margin else "not resolved"


def words(table: Table) -> list[str]:
    """One sentence per declared metric: which rows help, hurt, or make no difference."""
    margin = table.ablation.margin
    if margin is None:
        return []
    titles = {
        "alike": f"no difference as large as {margin:g} points",
        "not resolved": "not resolved at this power",
    }
    values = {line.row.label: line.values for line in table.lines}
    found = []
    for metric in dict.fromkeys(metric for _, metric in table.ablation.contrasts):
        scale = METRICS[metric].scale
        rows: dict[str, list[str]] = {name: [] for name in OUTCOMES}
        for label, tested in table.ablation.contrasts:
            if tested == metric and label in values:
                value = values[label].get(metric)
                name, size = outcome(value, scale, margin), ""
                if name in OUTCOMES[:2] and value and value.difference:
                    size = f" ({scale * value.difference.mean:+z.2f})"
                rows[name].append(f"“{label}”{size}")
        parts = [
            f"{titles.get(name, name)}: {', '.join(labels) or 'none'}"
            for name, labels in rows.items()
            if labels or name in OUTCOMES[:2]
        ]
        found.append(
            plain(
                f"{METRICS[metric].title} (Holm over all contrasts of this table): "
                f"{'; '.join(parts)}."
            )
        )
    return found
