"""A table as text: Markdown, LaTeX (booktabs), CSV, HTML. The same bytes for the same results.

Two blocks, as the paper lays them out: the scores with the published values beside them, and the
paired differences to the baseline. Everything that comes from outside is escaped.
"""

from __future__ import annotations

import csv as csv_module
import html as html_module
import io
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from direct.files import canonical_json

from . import paper, stats
from .ablations import METRICS
from .progress import plain
from .tables import Line, Table, Value

ABSENT = "–"


@dataclass(frozen=True)
class Entry:
    """What stands in a cell of a rendered table, and how it is marked."""

    text: str
    bold: bool = False
    underline: bool = False


@dataclass(frozen=True)
class Block:
    """Columns as (group, title); rows as entries. Groups of neighbouring columns share a header."""

    title: str
    columns: list[tuple[str, str]]
    rows: list[list[Entry]]
    rules: list[int]  # a rule stands above these rows


# What stands where --------------------------------------------------------------------------------


def blocks(table: Table) -> list[Block]:
    """The scores beside the published values, and the differences to the baseline."""
    ablation = table.ablation
    published = [m for m in ablation.metrics if any(m in x for x in ablation.published.values())]
    head = [("", ablation.header), ("", "seeds × prompts")]
    scores = Block(
        "Scores",
        head + [(_group(table, m), f"{METRICS[m].title} ↑") for m in ablation.metrics]
        + [(f"{paper.SCALE}: {METRICS[m].group}", f"{METRICS[m].title} ↑") for m in published],
        [[Entry(_label(line)), Entry(_size(line)),
          *[_score(line.values.get(m), m) for m in ablation.metrics],
          *[_printed(ablation.published.get(line.row.label, {}).get(m), m) for m in published]]
         for line in table.lines], _rules(table.lines),
    )
    others = tuple(line for line in table.lines if line.row.label != ablation.baseline)
    name = f"{ablation.header} = {ablation.baseline}" if ablation.axis else ablation.baseline
    changes = Block(
        f"Paired differences to {name}",
        [head[0]] + [(_group(table, m), METRICS[m].title) for m in ablation.metrics],
        [[Entry(_label(line)), *[_change(line.values.get(m), m) for m in ablation.metrics]]
         for line in others], _rules(others),
    )
    return [scores, changes]


def caption(table: Table) -> str:
    """Everything a reader needs to judge the numbers, in a few sentences."""
    ablation, line = table.ablation, table.baseline
    value = next(iter(line.values.values()), None) if line else None
    parts = [f"Table {ablation.table} of the paper, run again: {ablation.title}.",
             f"Our scores ({table.judge}) and the published ones ({paper.SCALE}) come from "
             "different models, judges and scales: compare rows, not scales."]
    if value:
        random = value.mean.seeds_random
        parts += [f"n = {value.mean.seeds} training seed{'s' if random else ''} × "
                  f"{value.mean.prompts} prompts.",
                  "± and [ ] are 95 % t intervals over crossed prompts and "
                  + ("random seeds." if random else "this one seed (fixed): over prompts only.")]
        if value.mean.seeds == 2:
            parts.append("With 2 seeds they hold the truth in 87 % of studies at worst: use 3.")
    if table.detectable is not None:
        points = METRICS["PC"].scale * table.detectable
        parts.append(f"Minimum detectable paired PC difference: {points:.2f} points (80 % power, "
                     f"after Holm over {len(ablation.contrasts)} contrasts).")
    total = {cell.id: line for line in table.lines for cell in line.cells}
    missing = sum(line.missing for line in table.lines)
    if missing:
        parts.append(f"Incomplete: {missing} of {len(total)} cells have no result yet.")
    parts.append(f"Commit {', '.join(table.provenance.get('commit', ['none']))}.")
    return plain(" ".join(parts))


def notes(table: Table) -> list[str]:
    """The legend, and what went wrong."""
    found = ["Bold: best. Underlined: second. ≈: not separable from the best (the 95 % interval of "
             "the paired difference from it holds 0).",
             "p: two-sided, Holm-adjusted over the contrasts that were declared before the run; "
             "differences without p were not declared."]
    seeds = [value.mean.seeds for line in table.lines for value in line.values.values()]
    if max(seeds, default=0) in range(2, 6):
        found.append("So few seeds may hide a seed variance: in simulation the tests' family-wise "
                     "size is up to 14 % with 3 seeds and 8 % with 5 (docs/coverage.md), not 5 %.")
    if any(line.row.reference for line in table.lines):
        found.append("*: a reference row of ours, not in the paper's table.")
    if any(line.seedless for line in table.lines):
        found.append("The base model has no training seed: it is generated once, and paired with "
                     "every seed.")
    for line in table.lines:
        if line.diverged:
            found.append(f"†: {line.row.label} diverged in {len(line.diverged)} of "
                         f"{len(line.cells)} runs ({line.diverged[0]}); its numbers are of the "
                         "others, and it is not ranked.")
    return [plain(note) for note in found]


def _group(table: Table, metric: str) -> str:
    unit = " (%)" if METRICS[metric].scale == 100 else ""
    if table.config.evaluate.judge == "world":
        return f"{table.judge}{unit}"
    return METRICS[metric].group


def _label(line: Line) -> str:
    return plain(line.row.label) + "*" * line.row.reference + "†" * bool(line.diverged)


def _size(line: Line) -> str:
    value = next(iter(line.values.values()), None)
    return ABSENT if value is None else f"{value.mean.seeds} × {value.mean.prompts}"


def _rules(lines: Iterable[Line]) -> list[int]:
    """A rule where the paper's rows end and ours begin."""
    flags = [line.row.reference for line in lines]
    return [i for i in range(1, len(flags)) if flags[i] != flags[i - 1]]


def _score(value: Value | None, metric: str) -> Entry:
    if value is None:
        return Entry(ABSENT)
    show, mean = METRICS[metric], value.mean
    text = f"{show.scale * mean.mean:z.{show.decimals}f}"
    if np.isfinite(mean.half):
        text += f" ± {show.scale * mean.half:.{show.decimals}f}"
    return Entry(text + " ≈" * value.tied, value.best, value.second)


def _change(value: Value | None, metric: str) -> Entry:
    if value is None or value.difference is None:
        return Entry(ABSENT)
    show, d = METRICS[metric], value.difference
    mean, low, high = (f"{show.scale * x:+z.{show.decimals}f}" for x in (d.mean, d.low, d.high))
    text = f"{mean} [{low}, {high}]" if np.isfinite(d.half) else mean
    if value.p_holm is not None:
        text += f", p {_p(value.p_holm)}"
    return Entry(text)


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def _printed(value: float | None, metric: str) -> Entry:
    """A published number, as printed: never scaled."""
    return Entry(ABSENT if value is None else f"{value:.{METRICS[metric].decimals}f}")


# Markdown -----------------------------------------------------------------------------------------


def markdown(table: Table) -> str:
    parts = [f"# Table {table.ablation.table}: {_md(table.ablation.title)}", _md(caption(table))]
    for block in blocks(table):
        heads = [f"{title}<br>{_md(group)}" if group else _md(title)
                 for group, title in block.columns]
        rows = [heads, ["---"] * len(heads)] + [[_md_entry(e) for e in row] for row in block.rows]
        parts.append(f"## {_md(block.title)}")
        parts.append("\n".join("| " + " | ".join(row) + " |" for row in rows))
    parts.append(f"![{_md(table.ablation.title)}]({table.ablation.file}.svg)")
    parts.append("\n".join(f"- {_md(note)}" for note in notes(table)))
    return "\n\n".join(parts) + "\n"


def _md(text: str) -> str:
    """Markdown's special characters escaped, and HTML's."""
    text = re.sub(r"([\\`*_\[\]|#~$])", r"\\\1", plain(text))
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _md_entry(entry: Entry) -> str:
    text = _md(entry.text)
    text = f"**{text}**" if entry.bold else text
    return f"<u>{text}</u>" if entry.underline else text


# LaTeX --------------------------------------------------------------------------------------------

_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"$<$", ">": r"$>$", "|": r"$|$", "±": r"$\pm$", "×": r"$\times$", "↑": r"$\uparrow$",
    "≈": r"$\approx$", "†": r"$\dagger$", "λ": r"$\lambda$", "Δ": r"$\Delta$", "–": "--",
    '"': "''",
}


def tex(text: str) -> str:
    """`text` with everything LaTeX would obey escaped; symbols outside of ASCII become commands."""
    text = re.sub(r"λ_(\w+)", lambda m: "\0" + m.group(1) + "\1", text)
    out = "".join(_TEX.get(c, c if c.isascii() or c.isalpha() else "?") for c in text)
    return re.sub("\0(.*?)\1", r"$\\lambda_{\\mathrm{\1}}$", out)


def latex(table: Table) -> str:
    """A whole document, so that it compiles as it is; the `table` environment can be lifted out."""
    body = "\n\n\\medskip\n\n".join(_tabular(block) for block in blocks(table))
    text = " ".join([caption(table), *notes(table)])
    return "\n".join([
        r"\documentclass{article}", r"\usepackage[utf8]{inputenc}", r"\usepackage[T1]{fontenc}",
        r"\usepackage[a4paper,landscape,margin=1.5cm]{geometry}",
        r"\usepackage{booktabs,graphicx}", r"\begin{document}", r"\pagestyle{empty}",
        r"\begin{table}", r"\centering", r"\caption{" + tex(text) + "}",
        r"\label{tab:" + table.ablation.name + "}", body, r"\end{table}", r"\end{document}", "",
    ])


def _tabular(block: Block) -> str:
    runs = _runs(block.columns)
    heads, rules, start = [], [], 1
    for group, width in runs:
        heads.append(rf"\multicolumn{{{width}}}{{c}}{{{tex(group)}}}")
        if group:
            rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
        start += width
    lines = [r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%",
             r"\begin{tabular}{l" + "c" * (len(block.columns) - 1) + "}", r"\toprule",
             " & ".join(heads) + r" \\", "".join(rules),
             " & ".join(tex(title) for _, title in block.columns) + r" \\", r"\midrule"]
    for index, row in enumerate(block.rows):
        if index in block.rules:
            lines.append(r"\midrule")
        lines.append(" & ".join(_tex_entry(entry) for entry in row) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}}"])


def _runs(columns: list[tuple[str, str]]) -> list[tuple[str, int]]:
    """Neighbouring columns of one group, as (group, width)."""
    return [(group, len(list(run))) for group, run in groupby(columns, key=lambda c: c[0])]


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
        found.append({
            "table": table.ablation.table, "row": line.row.label, "ours": line.row.reference,
            "metric": metric, "judge": table.judge, "scale": METRICS[metric].scale,
            **_csv_estimate("", value.mean if value else None),
            **_csv_bootstrap("", value.scores.matrix if value else None),
            "seed_means": " ".join(f"{seed}:{float(scores.mean())!r}" for seed, scores in zip(
                value.scores.seeds, value.scores.matrix, strict=True)) if value else None,
            **_csv_estimate("difference_", value.difference if value else None),
            **_csv_bootstrap("difference_", value.differences if value else None),
            "difference_p": value.difference.p if value and value.difference else None,
            "difference_p_holm": value.p_holm if value else None,
            "published": published, "published_scale": paper.SCALE if published else None,
            "missing_cells": line.missing, "diverged_cells": len(line.diverged),
            "cells": " ".join(cell.id for cell in line.cells),
        })
    return found


def _csv_estimate(prefix: str, found: stats.Estimate | None) -> dict[str, Any]:
    names = ("mean", "low", "high", "se", "df", "seeds", "prompts")
    return {prefix + name: getattr(found, name) if found else None for name in names}


def _csv_bootstrap(prefix: str, scores: Any) -> dict[str, Any]:
    low, high = (None, None) if scores is None else stats.bootstrap(scores)
    return {f"{prefix}bootstrap_low": low, f"{prefix}bootstrap_high": high}


# HTML and provenance ------------------------------------------------------------------------------

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; border-block: 2px solid; margin: 1rem 0; white-space: nowrap;
        font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .75rem; text-align: center; }
th[scope=row] { text-align: left; font-weight: normal; }
thead tr:last-child, tr.rule > * { border-bottom: 1px solid; }
tr.rule > * { border-bottom: 0; border-top: 1px solid; }
th[colspan] { border-bottom: 1px solid; }
.note, figcaption { font-size: .9rem; }
figure { margin: 1rem 0; background: #fff; color: #000; padding: .5rem; }
svg { max-width: 100%; height: auto; }
""".strip()


def html(table: Table, svg: str) -> str:
    """One page that asks nothing of the network."""
    escape = html_module.escape
    title = f"Table {table.ablation.table}: {plain(table.ablation.title)}"
    drawing = svg[svg.index("<svg"):]  # without the XML declaration
    return "\n".join([
        "<!doctype html>", '<html lang="en">', '<head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>", f"<style>\n{_STYLE}\n</style></head>", "<body><main>",
        f"<h1>{escape(title)}</h1>", f"<p>{escape(caption(table))}</p>",
        *(_html_block(block, escape) for block in blocks(table)),
        f"<figure>{drawing}</figure>",
        "<ul class=note>", *(f"<li>{escape(note)}</li>" for note in notes(table)), "</ul>",
        "</main></body></html>", "",
    ])


def _html_block(block: Block, escape: Callable[[str], str]) -> str:
    groups = "".join(f'<th colspan="{width}" scope="colgroup">{escape(group)}</th>' if group
                     else "<td></td>" * width for group, width in _runs(block.columns))
    titles = "".join(f'<th scope="col">{escape(title)}</th>' for _, title in block.columns)
    rows = []
    for index, row in enumerate(block.rows):
        kind = ' class="rule"' if index in block.rules else ""
        cells = "".join(f"<td>{_html_entry(entry, escape)}</td>" for entry in row[1:])
        rows.append(f'<tr{kind}><th scope="row">{escape(row[0].text)}</th>{cells}</tr>')
    return (f'<h2>{escape(block.title)}</h2><div class="scroll" tabindex="0"><table>'
            f"<thead><tr>{groups}</tr><tr>{titles}</tr></thead>\n<tbody>\n"
            + "\n".join(rows) + "\n</tbody></table></div>")


def _html_entry(entry: Entry, escape: Callable[[str], str]) -> str:
    text = escape(entry.text)
    text = f"<strong>{text}</strong>" if entry.bold else text
    return f"<u>{text}</u>" if entry.underline else text


def provenance(table: Table) -> str:
    """What the table stands on: cells with their settings, commit, packages, device, weights."""
    from dataclasses import asdict

    cells = {cell.id: asdict(cell.config) for line in table.lines for cell in line.cells}
    rows = {line.row.label: [cell.id for cell in line.cells] for line in table.lines}
    return canonical_json({"table": table.ablation.table, "rows": rows, "cells": cells,
                           "provenance": table.provenance}, indent=1) + "\n"
