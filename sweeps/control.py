"""Whether this set-up can show an effect at all, and whether it shows one where there is none.

The positive control is an effect that theory predicts (docs/theory.md): where it is not found, what
other tables do not find means nothing, and each of them says so. The negative control is two
trainings that differ only in a seed: what is found there is found by chance.
"""

from __future__ import annotations

from dataclasses import dataclass

from .claims import ALPHA
from .mechanism_ablations import AGAIN, RANDOM
from .schema import METRICS
from .table import Line, Table, Value


@dataclass(frozen=True)
class Control:
    positive: str  # in words; "" where it has not been run
    negative: str
    warning: str = ""  # for every table, where the positive control failed


NOT_RUN = Control("", "")


def control(table: Table | None) -> Control:
    """What the table of sweep `control` says, as far as it is complete."""
    lines = {line.row.label: line for line in table.lines} if table else {}
    if any(line.missing or not line.values for line in lines.values()) or AGAIN not in lines:
        return NOT_RUN
    if _one_cell(list(lines.values())):
        return NOT_RUN
    found, again = lines[RANDOM].values["PC"], lines[AGAIN].values
    effect = f"{RANDOM} minus SFT, without guidance: {_words(found, 'PC')}"
    negative = f"As a check, {AGAIN} minus {RANDOM}: " + "; ".join(
        _words(again[m], m) for m in ("PC", "SA")
    )
    false = sum(_significant(again[metric]) for metric in ("PC", "SA"))
    negative += f"; {false} of 2 differences found where there is none"
    if _significant(found) and found.difference and found.difference.mean > 0:
        return Control(f"This set-up can show an effect: {effect}.", f"{negative}.")
    warning = (
        f"The positive control failed here ({effect}): differences that this table does not show "
        "may be there all the same."
    )
    said = f"This set-up has not shown that it can find an effect: {effect}."
    return Control(said, f"{negative}.", warning)


def _one_cell(lines: list[Line]) -> bool:
    """Whether two rows are the same cell: nothing is trained, say, so nothing can differ."""
    found = [cell.id for line in lines for cell in line.cells]
    return len(set(found)) < len(found)


def _significant(value: Value) -> bool:
    return value.p_holm is not None and value.p_holm < ALPHA


def _words(value: Value, metric: str) -> str:
    d, scale = value.difference, METRICS[metric].scale
    if d is None or value.p_holm is None:
        return f"{metric} without a difference"
    mean, low, high = (f"{scale * x:+z.2f}" for x in (d.mean, d.low, d.high))
    p = "p < 0.001" if value.p_holm < 0.001 else f"p = {value.p_holm:.3f}"
    return f"{metric} {mean} [{low}, {high}], {p}"
