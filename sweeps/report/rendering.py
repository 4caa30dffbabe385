"""What a table's hard negatives cost to render, and whether they do what the baseline's do.

`python -m direct.plan --cheap` reads this in the table's JSON.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from direct.measure.cheap import EQUIVALENT

from ..claims import ALPHA
from ..contrasts import Tested
from ..table import Line, Table
from .entry import ABSENT, p_words

DIFFERENT, OPEN = "not equivalent", "not resolved"


def offers(table: Table) -> list[dict[str, Any]]:
    """A row each, in the table's order; empty where all rows that say what they cost cost the same.

    row, passes (of the transformer per hard negative; 0 of a row without any), relative (to the
    baseline's), difference (PC minus the baseline's, points; None of itself), verdict, words (the
    verdict with its p and margin), and the settings that the cost comes from: steps, of_steps (the
    baseline's), solver, cache, frames, hard_negative.
    """
    known = [(line, n) for line in table.lines if (n := _passes(line)) is not None]
    base = next((x for x in known if x[0].row.label == table.ablation.baseline), None)
    if base is None or not base[1] or len({n for _, n in known if n}) < 2:
        return []
    of_steps = base[0].cells[0].config.hard_sample.steps
    found = []
    for line, passes in known:
        config = line.cells[0].config
        verdict, words = _verdict(table, line.row.label)
        found.append(
            {
                "row": line.row.label,
                "passes": passes,
                "relative": passes / base[1],
                "difference": _points(table, line),
                "verdict": verdict,
                "words": words,
                "steps": config.hard_sample.steps,
                "of_steps": of_steps,
                **asdict(config.render),
                "hard_negative": config.loss.hard_negative,
            }
        )
    return found


def without(offers: list[dict[str, Any]]) -> float | None:
    """What leaving hard negatives out altogether changes of PC, points: what there is to lose."""
    return next((offer["difference"] for offer in offers if not offer["passes"]), None)


def _passes(line: Line) -> float | None:
    """None where a row's cells have not said it."""
    if line.cells and not line.cells[0].config.loss.lambda_hard:
        return 0.0
    return (line.negatives or {}).get("passes")


def _points(table: Table, line: Line) -> float | None:
    value = line.values.get("PC")
    other = line.row.label != table.ablation.baseline
    if not other or value is None or value.difference is None:
        return None
    return 100 * value.difference.mean


def _verdict(table: Table, label: str) -> tuple[str, str]:
    """Read off the table's family: whether the row's PC is the baseline's, within a margin."""
    rows = {label, table.ablation.baseline}
    for hypothesis, tested in table.family.items():
        contrast = hypothesis[0]
        margin, terms = contrast.margin, contrast.terms
        own = len(hypothesis) == 1 and {row for _, row, _ in terms} == rows
        if own and margin is not None and {metric for _, _, metric in terms} == {"PC"}:
            verdict = _of(tested)
            p = p_words(tested.p)
            return verdict, f"{verdict} within {margin:g} point{'s' * (margin != 1)}, p {p}"
    return "", ABSENT


def _of(tested: Tested) -> str:
    if not tested.p < ALPHA:
        return OPEN
    return EQUIVALENT if tested.p_for < tested.p_against else DIFFERENT
