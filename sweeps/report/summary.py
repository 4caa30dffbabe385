"""A table in one sentence and one picture: what was shown, what was not, what could have been.

True for any experiment: it reads the declared contrasts, or all differences where none is declared.
The base model stands apart: its distance would hide the comparisons that matter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from direct.common.text import plain

from ..claims import ALPHA
from ..schema import METRICS
from ..table import Line, Table, Value
from .entry import change

ROWS, PANELS, NAMED = 6, 2, 4  # of a picture; rows that a sentence names


@dataclass(frozen=True)
class Bar:
    """An interval on an axis from 0 to 100, where 50 is no difference."""

    low: float
    mean: float
    high: float
    kind: str  # "found" or "open"
    text: str


@dataclass(frozen=True)
class Summary:
    sentence: str
    panels: tuple[tuple[str, str], ...] = ()  # (metric, the axis's end), left to right
    rows: tuple[tuple[str, tuple[Bar | None, ...]], ...] = ()
    more: int = 0  # rows that only the table shows


def summary(table: Table) -> Summary:
    """What the page shows of the table before anything is opened."""
    lines = _compared(table)
    metrics = _metrics(table, lines)
    if not metrics:
        return Summary(_nothing(table))
    drawn = [line for line in lines if any(_difference(line, metric) for metric in metrics)]
    shown = _shown(drawn, metrics)
    ends = [_end(shown, metric) for metric in metrics]
    rows = tuple(
        (
            plain(line.row.label),
            tuple(_bar(line, m, end) for m, end in zip(metrics, ends, strict=True)),
        )
        for line in shown
    )
    panels = tuple(
        (METRICS[metric].title, f"{end:g}") for metric, end in zip(metrics, ends, strict=True)
    )
    return Summary(_sentence(table, lines, metrics), panels, rows, len(lines) - len(shown))


def _nothing(table: Table) -> str:
    finished = any(line.values for line in table.lines)
    return "No comparison was declared." if finished else "No results yet."


def _compared(table: Table) -> list[Line]:
    """The lines with a difference that matters, without the base where others are compared."""
    asked = {label for label, _ in table.ablation.contrasts}
    with_difference = [
        line
        for line in table.lines
        if any(value.difference for value in line.values.values())
        and (line.row.label in asked or not asked)
    ]
    return [line for line in with_difference if not _base(line, table)] or with_difference


def _base(line: Line, table: Table) -> bool:
    return not line.trained and not table.ablation.measured


def _metrics(table: Table, lines: list[Line]) -> list[str]:
    declared = [metric for _, metric in table.ablation.contrasts]
    usual = [metric for metric in ("PC", "SA") if metric in table.ablation.metrics]
    asked = dict.fromkeys(declared or usual or table.ablation.metrics)
    there = [m for m in asked if any(_difference(line, m) for line in lines)]
    return there[:PANELS]


def _difference(line: Line, metric: str) -> Value | None:
    value = line.values.get(metric)
    return value if value and value.difference and math.isfinite(value.difference.half) else None


def _found(value: Value | None) -> bool:
    return bool(value and value.p_holm is not None and value.p_holm < ALPHA)


def _shown(lines: list[Line], metrics: list[str]) -> list[Line]:
    """At most `ROWS`: those with the smallest p, in the table's order."""

    def least(line: Line) -> float:
        p = [v.p_holm for m in metrics if (v := _difference(line, m)) and v.p_holm is not None]
        return min(p, default=1.0)

    best = sorted(range(len(lines)), key=lambda i: (least(lines[i]), i))[:ROWS]
    return [lines[i] for i in sorted(best)]


# The picture --------------------------------------------------------------------------------------


def _end(lines: list[Line], metric: str) -> float:
    """The smallest round number that holds every interval, in printed units."""
    found = [v.difference for line in lines if (v := _difference(line, metric))]
    largest = METRICS[metric].scale * max(
        (max(abs(d.low), abs(d.high)) for d in found if d), default=0.0
    )
    if not largest > 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(largest))
    return next(float(f"{step * power:.6g}") for step in (1, 2, 5, 10) if step * power >= largest)


def _bar(line: Line, metric: str, end: float) -> Bar | None:
    value = _difference(line, metric)
    if value is None or value.difference is None:
        return None
    scale, d = METRICS[metric].scale, value.difference
    low, mean, high = (50 + 50 * scale * x / end for x in (d.low, d.mean, d.high))
    text = f"{METRICS[metric].title}: {change(value, metric).whole}"
    return Bar(low, mean, high, "found" if _found(value) else "open", text)


# The sentence -------------------------------------------------------------------------------------


def _sentence(table: Table, lines: list[Line], metrics: list[str]) -> str:
    """What was shown, what was not, what the run could have shown, and the base apart."""
    ablation = table.ablation
    shown = [words for line in lines if (words := _changes(line, metrics))]
    open_ = [
        plain(line.row.label)
        for line in lines
        if not any(_found(line.values.get(m)) for m in metrics)
    ]
    partner = f"{ablation.header} = {ablation.baseline}" if ablation.axis else ablation.baseline
    if any(line.row.against for line in lines):
        partner = "each row's partner"
    parts = [
        f"Against {plain(partner)}: {_listed(shown)}."
        if shown
        else f"No difference from {plain(partner)} was shown."
    ]
    if shown and open_:
        parts.append(f"Not shown: {_listed(open_, ', ')}.")
    # Of the lines that are shown: the base, which stands apart, has a larger one.
    if sizes := [table.detectable[x.row.label] for x in lines if x.row.label in table.detectable]:
        least, most = (f"{METRICS['PC'].scale * end(sizes):.2f}" for end in (min, max))
        size = most if least == most else f"{least} to {most}"
        parts.append(f"The run could have shown PC differences of {size} points.")
    apart = [
        f"Apart, for it is not trained, {plain(line.row.label)}: {words}."
        for line in table.lines
        if _base(line, table) and line not in lines and (words := _numbers(line, metrics))
    ]
    parts += apart[:1]
    if missing := sum(line.missing for line in table.lines):
        parts.append(f"{missing} cells have no result yet.")
    return " ".join(parts)


def _listed(texts: list[str], between: str = "; ") -> str:
    more = len(texts) - NAMED
    return between.join(texts[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _changes(line: Line, metrics: list[str]) -> str:
    """`0.1 -1.58 PC, -1.66 SA`: the differences that were found."""
    found = [m for m in metrics if _found(line.values.get(m))]
    return f"{plain(line.row.label)} {_numbers(line, found)}" if found else ""


def _numbers(line: Line, metrics: list[str]) -> str:
    return ", ".join(
        f"{change(value, m).text} {METRICS[m].title}"
        for m in metrics
        if (value := _difference(line, m))
    )
