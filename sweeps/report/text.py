"""A table as text: Markdown and CSV. The same bytes for the same results.

Everything that comes from outside is escaped.
"""

from __future__ import annotations

import csv as csv_module
import io
from typing import Any

from direct.common.files import canonical_json
from direct.common.text import plain

from .. import paper, stats
from ..schema import METRICS
from ..table import Line, Table
from . import rendering
from .entry import Entry
from .layout import Block, blocks, escape_markdown
from .words import caption, notes

# Markdown -----------------------------------------------------------------------------------------


def markdown(table: Table) -> str:
    title = escape_markdown(table.ablation.title)
    parts = [f"# {table.ablation.place}: {title}", escape_markdown(caption(table))]
    parts += map(markdown_block, blocks(table))
    parts.append(f"![{title}]({table.ablation.file}.svg)")
    parts.append("\n".join(f"- {escape_markdown(note)}" for note in notes(table)))
    return "\n\n".join(parts) + "\n"


def markdown_block(block: Block) -> str:
    """The block under its heading."""
    heads = [
        f"{escape_markdown(title)}<br>{escape_markdown(group)}" if group else escape_markdown(title)
        for group, title in block.columns
    ]
    rows = [heads, ["---"] * len(heads)] + [[_md_entry(e) for e in row] for row in block.rows]
    lines = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return f"## {escape_markdown(block.title)}\n\n{lines}"


def _md_entry(entry: Entry) -> str:
    text = escape_markdown(entry.whole)
    text = f"**{text}**" if entry.bold else text
    return f"<u>{text}</u>" if entry.underline else text


# CSV ----------------------------------------------------------------------------------------------


def csv(table: Table) -> str:
    """One line per row and metric, full precision, in the judge's units (not times `scale`)."""
    lines = [entry for line in table.lines for entry in _csv_lines(table, line)]
    out = io.StringIO()
    writer = csv_module.DictWriter(out, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    for entry in lines:
        writer.writerow({key: formula_safe(value) for key, value in entry.items()})
    return out.getvalue()


def formula_safe(value: Any) -> Any:
    """Text that a spreadsheet would run as a formula gets a quote in front."""
    if not isinstance(value, str):
        return value
    value = plain(value)
    return "'" + value if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _csv_lines(table: Table, line: Line) -> list[dict[str, Any]]:
    found = []
    for metric in table.ablation.metrics:
        value = line.values.get(metric)
        published = table.ablation.published.get(line.row.label, {}).get(metric)
        found.append(
            {
                "table": table.ablation.table,
                "row": line.row.label,
                "ours": line.row.reference,
                "metric": metric,
                "judge": table.judge,
                "scale": METRICS[metric].scale,
                **_csv_estimate("", value.mean if value else None),
                **_csv_bootstrap("", value.scores.matrix if value else None),
                "seed_means": " ".join(
                    f"{seed}:{float(scores.mean())!r}"
                    for seed, scores in zip(value.scores.seeds, value.scores.matrix, strict=True)
                )
                if value
                else None,
                **_csv_estimate("difference_", value.difference if value else None),
                **_csv_bootstrap("difference_", value.differences if value else None),
                "difference_p": value.difference.p if value and value.difference else None,
                "difference_p_holm": value.p_holm if value else None,
                "published": published,
                "published_scale": paper.SCALE if published else None,
                "missing_cells": line.missing,
                "diverged_cells": len(line.diverged),
                "cells": " ".join(cell.id for cell in line.cells),
            }
        )
    return found


def _csv_estimate(prefix: str, found: stats.Estimate | None) -> dict[str, Any]:
    names = ("mean", "low", "high", "se", "seeds", "prompts")
    return {prefix + name: getattr(found, name) if found else None for name in names}


def _csv_bootstrap(prefix: str, scores: Any) -> dict[str, Any]:
    low, high = (None, None) if scores is None else stats.bootstrap(scores)
    return {f"{prefix}bootstrap_low": low, f"{prefix}bootstrap_high": high}


# Provenance ---------------------------------------------------------------------------------------


def provenance(table: Table) -> str:
    """What the table stands on: cells with their settings, commit, packages, device, weights."""
    from dataclasses import asdict

    cells = {cell.id: asdict(cell.config) for line in table.lines for cell in line.cells}
    rows = {line.row.label: [cell.id for cell in line.cells] for line in table.lines}
    return (
        canonical_json(
            {
                "table": table.ablation.table,
                "rows": rows,
                "cells": cells,
                "provenance": table.provenance,
                **({"rendering": found} if (found := rendering.offers(table)) else {}),
            },
            indent=1,
        )
        + "\n"
    )
