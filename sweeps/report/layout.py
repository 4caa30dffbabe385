"""The contents of a written table, whatever its format: columns and entries. `words` has its texts.

Two blocks, as the paper lays them out: the scores with the published values beside them, and the
paired differences to the baseline.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from direct.common.text import plain

from .. import paper
from ..schema import METRICS, Ablation
from ..table import Line, Table
from . import rendering
from .entry import ABSENT, Entry, change, published, score


@dataclass(frozen=True)
class Block:
    """Columns as (group, title); rows as entries. Groups of neighbouring columns share a header."""

    title: str
    columns: list[tuple[str, str]]
    rows: list[list[Entry]]
    rules: list[int]  # a rule stands above these rows


def blocks(table: Table, columns: Sequence[str] | None = None) -> list[Block]:
    """The scores beside the published values, and the differences to the baseline.

    `columns`: the metrics to show, and nothing else of ours; all that there is unless given.
    """
    ablation = table.ablation
    ablation = replace(ablation, metrics=tuple(columns or ablation.metrics))
    gains = columns is None and any(line.gain for line in table.lines)
    found = [_scores(table, ablation, gains), _changes(table, ablation)]
    found = [block for block in found if block.rows]
    return found + [_negatives(table)] * shows_negatives(table) + _rendered(table)


def _scores(table: Table, ablation: Ablation, gains: bool) -> Block:
    printed = [m for m in ablation.metrics if any(m in x for x in ablation.published.values())]
    sizes = paper.PARAMETERS if ablation.table == "2" else {}
    return Block(
        "Measurements" if ablation.measured else "Scores",
        [("", ablation.header), ("", f"seeds × {ablation.unit}")]
        + [(_group(table, m), METRICS[m].head) for m in ablation.metrics]
        + [("", "gain learnt (predicted)")] * gains
        + [(paper.SCALE, "parameters")] * bool(sizes)
        + [(f"{paper.SCALE}: {METRICS[m].group}", METRICS[m].head) for m in printed],
        [
            [
                Entry(_label(line)),
                Entry(_size(line)),
                *[score(line.values.get(m), m) for m in ablation.metrics],
                *[_learnt(line)] * gains,
                *[Entry(sizes.get(line.row.label, ABSENT))] * bool(sizes),
                *[published(ablation.published.get(line.row.label, {}).get(m), m) for m in printed],
            ]
            for line in table.lines
        ],
        _rules(table.lines),
    )


def _changes(table: Table, ablation: Ablation) -> Block:
    """Without rows where no row has another one to be compared with."""
    others = tuple(
        line
        for line in table.lines
        if line.cells and line.row.label != ablation.partner(line.row.label)
    )
    name = f"{ablation.header} = {ablation.baseline}" if ablation.axis else ablation.baseline
    several = any(line.row.against for line in others)
    return Block(
        "Paired differences" if several else f"Paired differences to {name}",
        [("", ablation.header)]
        + [("", "minus")] * several
        + [(_group(table, m), METRICS[m].title) for m in ablation.metrics],
        [
            [
                Entry(_label(line)),
                *[Entry(plain(ablation.partner(line.row.label)))] * several,
                *[change(line.values.get(m), m) for m in ablation.metrics],
            ]
            for line in others
        ],
        _rules(others),
    )


def _learnt(line: Line) -> Entry:
    return Entry(f"{line.gain.learnt:.4f} ({line.gain.predicted:.4f})" if line.gain else ABSENT)


NEGATIVES = {  # of `Line.negatives`, as a column: title, format
    "sum_p_squared": ("Σ p_k²", "{:.3f}"),
    "changed": ("share of draws changed", "{:.3f}"),
    "distance": ("mean distance", "{:.4f}"),
}


def shows_negatives(table: Table) -> bool:
    return table.ablation.axis == "macro.clusters" and bool(_contrasting(table))


def _contrasting(table: Table) -> list[Line]:
    """The rows whose negatives Eq. 2 draws."""
    return [line for line in table.lines if "distance" in (line.negatives or {})]


def _negatives(table: Table) -> Block:
    """What Eq. 2 does to uniform draws, before any training."""
    lines = _contrasting(table)
    rows = []
    for line in lines:
        facts = line.negatives or {}
        ratio = facts["distance"] / facts["uniform_distance"]
        rows.append(
            [
                Entry(_label(line)),
                *[Entry(form.format(facts[name])) for name, (_, form) in NEGATIVES.items()],
                Entry(f"{100 * (ratio - 1):+.2f} %"),
            ]
        )
    heads = [title for title, _ in NEGATIVES.values()] + ["against uniform draws"]
    return Block(
        "The negatives that Eq. 2 allows",
        [("", table.ablation.header)] + [("", head) for head in heads],
        rows,
        _rules(lines),
    )


def _rendered(table: Table) -> list[Block]:
    """What hard negatives cost and whether they do what the baseline's do, where costs differ."""
    offers = rendering.offers(table)
    if not offers:
        return []
    heads = ["passes per negative", "of the full rendering's", "PC of the full rendering's?"]
    rows = [
        [
            Entry(plain(offer["row"])),
            Entry(f"{offer['passes']:.1f}"),
            Entry(f"{100 * offer['relative']:.0f} %"),
            Entry(offer["words"]),
        ]
        for offer in offers
    ]
    if all(offer["words"] == ABSENT for offer in offers):  # no claim asks
        heads, rows = heads[:-1], [row[:-1] for row in rows]
    columns = [("", table.ablation.header)] + [("", head) for head in heads]
    return [Block("What a hard negative costs", columns, rows, [])]


def _group(table: Table, metric: str) -> str:
    if table.ablation.measured:
        return METRICS[metric].group
    unit = " (%)" if METRICS[metric].scale == 100 else ""
    if table.config.evaluate.judge == "world":
        return f"{table.judge}{unit}"
    return METRICS[metric].group


def _label(line: Line) -> str:
    return plain(line.row.label) + "*" * line.row.reference + "†" * bool(line.diverged)


def _size(line: Line) -> str:
    if not line.cells:
        return f"needs profile {line.row.profile}"
    value = next(iter(line.values.values()), None)
    return ABSENT if value is None else f"{value.mean.seeds} × {value.mean.prompts}"


def _rules(lines: Iterable[Line]) -> list[int]:
    """A rule where the paper's rows end and ours begin."""
    flags = [line.row.reference for line in lines]
    return [i for i in range(1, len(flags)) if flags[i] != flags[i - 1]]


def runs(columns: list[tuple[str, str]]) -> list[tuple[str, int]]:
    """Neighbouring columns of one group, as (group, width)."""
    return [(group, len(list(run))) for group, run in groupby(columns, key=lambda c: c[0])]


def escape_markdown(text: str) -> str:
    """Markdown's special characters escaped, and HTML's."""
    text = re.sub(r"([\\`*_\[\]|#~$])", r"\\\1", plain(text))
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
