"""A table as text: Markdown, LaTeX (booktabs), CSV. The same bytes for the same results.

Everything that comes from outside is escaped.
"""

from __future__ import annotations

import csv as csv_module
import io
import re
from collections.abc import Sequence
from typing import Any

from direct.common.files import canonical_json
from direct.common.text import plain

from .. import paper, stats
from ..schema import METRICS
from ..tables import Line, Table
from .layout import Block, Entry, blocks, caption, escape_markdown, notes, runs

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
    text = escape_markdown(entry.text)
    text = f"**{text}**" if entry.bold else text
    return f"<u>{text}</u>" if entry.underline else text


# LaTeX --------------------------------------------------------------------------------------------

_TEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"$|$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "↑": r"$\uparrow$",
    "≈": r"$\approx$",
    "†": r"$\dagger$",
    "λ": r"$\lambda$",
    "Δ": r"$\Delta$",
    "–": "--",
    '"': "''",
    "“": "``",
    "”": "''",
    "−": "$-$",
    "·": r"$\cdot$",
    "↓": r"$\downarrow$",
    "→": r"$\to$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "²": "$^2$",
    "⁹": "$^9$",
    "⟨": r"$\langle$",
    "⟩": r"$\rangle$",
    "Σ": r"$\Sigma$",
    "α": r"$\alpha$",
    "δ": r"$\delta$",
    "σ": r"$\sigma$",
}


def tex(text: str) -> str:
    """`text` with everything LaTeX would obey escaped; symbols outside of ASCII become commands."""
    text = re.sub(r"λ_(\w+)", lambda m: "\0" + m.group(1) + "\1", text)
    text = re.sub(r"(?<![\w)])-(?=\d)", "−", text)  # of a number: no hyphen
    out = "".join(_TEX.get(c, c if c.isascii() or "À" <= c <= "ž" else "?") for c in text)
    return re.sub("\0(.*?)\1", r"$\\lambda_{\\mathrm{\1}}$", out)


def latex(table: Table) -> str:
    return latex_document(table.ablation.name, [caption(table), *notes(table)], blocks(table))


def latex_document(name: str, texts: Sequence[str], parts: Sequence[Block]) -> str:
    """A whole document, so that it compiles as it is; the `table` environment can be lifted out."""
    body = "\n\n\\medskip\n\n".join(map(_tabular, parts))
    text = " ".join(texts)
    return "\n".join(
        [
            r"\documentclass{article}",
            r"\usepackage[utf8]{inputenc}",
            r"\usepackage[T1]{fontenc}",
            r"\usepackage[a4paper,landscape,margin=1.5cm]{geometry}",
            r"\usepackage{booktabs,graphicx}",
            r"\begin{document}",
            r"\pagestyle{empty}",
            r"\begin{table}",
            r"\centering",
            r"\caption{" + tex(text) + "}",
            r"\label{tab:" + name + "}",
            body,
            r"\end{table}",
            r"\end{document}",
            "",
        ]
    )


def _tabular(block: Block) -> str:

    heads, rules, start = [], [], 1
    for group, width in runs(block.columns):
        heads.append(rf"\multicolumn{{{width}}}{{c}}{{{tex(group)}}}")
        if group:
            rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
        start += width
    lines = [
        r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%",
        r"\begin{tabular}{l" + "c" * (len(block.columns) - 1) + "}",
        r"\toprule",
        " & ".join(heads) + r" \\",
        "".join(rules),
        " & ".join(tex(title) for _, title in block.columns) + r" \\",
        r"\midrule",
    ]
    for index, row in enumerate(block.rows):
        if index in block.rules:
            lines.append(r"\midrule")
        lines.append(" & ".join(_tex_entry(entry) for entry in row) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}}"])


def _tex_entry(entry: Entry) -> str:
    text = tex(entry.text)
    text = text.replace("[", "{[}", 1) if text.startswith("[") else text  # an argument of \\
    text = rf"\textbf{{{text}}}" if entry.bold else text
    return rf"\underline{{{text}}}" if entry.underline else text


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
            },
            indent=1,
        )
        + "\n"
    )
