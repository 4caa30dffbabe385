r"""A table as LaTeX, to be `\input` into a paper: booktabs, no document around it.

It fits the text width of LaTeX's own `article` at 10 pt in `\small`, unscaled: an interval stands
smaller behind its number, or below it; what is wider is divided into blocks, what is longer into
floats. Widths are estimates from Computer Modern's, a little too large. `main.tex` shows a folder.

Everything that comes from outside is escaped. The same bytes for the same results.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from direct.common.errors import UserError, nearest
from direct.common.text import plain

from .. import paper
from ..tables import Table
from .entry import Entry
from .layout import Block, blocks, notes, runs, sources, title

SCORES = ("SA", "PC", "AVG")  # the columns of most of the paper's tables
TEXTWIDTH = 345.0  # pt, of `article` at 10 pt, the narrowest in use
GAP = 8.0  # pt between columns
LABELS = 0.27  # of the text width, at most, for a column of words
LINES = 44  # of one float
SMALLER = 0.8  # of `\\small`, at most: `\\scriptsize`

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


def columns_of(table: Table, asked: Sequence[str] = ()) -> list[str]:
    """The metrics that a paper's table shows: those asked for, else the paper's own.

    Raises `UserError` for one that the table does not have.
    """
    known = table.ablation.metrics
    if wrong := [metric for metric in asked if metric not in known]:
        raise UserError(
            f"{table.ablation.name} has no column {wrong[0]}; {nearest(wrong[0], known)}"
        )
    printed = [m for m in known if any(m in row for row in table.ablation.published.values())]
    usual = [metric for metric in known if metric in SCORES]
    return list(asked) or usual or printed or list(known)


def latex(table: Table, columns: Sequence[str] = ()) -> str:
    """The table with these metrics, or with the paper's own."""
    shown = [_shortened(x) for x in _without_sizes(blocks(table, columns_of(table, columns)))]
    return fragment(table.ablation.name, title(table), [*sources(table), *notes(table)], shown)


def _without_sizes(found: list[Block]) -> list[Block]:
    """How many runs a row has is said below the table, unless rows differ in it."""
    first, *others = found
    sizes = {row[1].text for row in first.rows if " × " in row[1].text}
    if len(sizes) > 1:
        return found
    rows = [[row[0], *row[2:]] for row in first.rows]
    return [replace(first, columns=[first.columns[0], *first.columns[2:]], rows=rows), *others]


def _shortened(block: Block) -> Block:
    """The notes say what the published numbers are of."""
    heads = [
        (group.replace(f"{paper.SCALE}:", "published:"), name) for group, name in block.columns
    ]
    return replace(block, columns=heads)


def fragment(name: str, caption: str, texts: Sequence[str], parts: Sequence[Block]) -> str:
    """One float, or several under one number; `texts` stand as notes below the last."""
    tabulars = [piece for part in parts for piece in _divided(part)]
    floats: list[list[Block]] = [[]]
    for piece in tabulars:
        if floats[-1] and sum(map(_lines, [*floats[-1], piece])) > LINES:
            floats.append([])
        floats[-1].append(piece)
    head = rf"% {name}: a fragment; its document needs \usepackage{{booktabs}}"
    drawn = []
    for k, own in enumerate(floats):
        label = [rf"\caption{{{tex(caption)}}}", rf"\label{{tab:{name}}}"]
        again = [r"\addtocounter{table}{-1}", rf"\caption[]{{{tex(caption)} (Continued.)}}"]
        below = _notes(texts) if k == len(floats) - 1 else []
        drawn += [
            r"\begin{table}[tp]",
            r"\centering\small",
            rf"\setlength{{\tabcolsep}}{{{GAP / 2:g}pt}}",
            *(again if k else label),
            "\n\\par\\medskip\n".join(_headed(piece, len(tabulars) > 1) for piece in own),
            *below,
            r"\end{table}",
        ]
    return "\n".join([head, *drawn, ""])


def _notes(texts: Sequence[str]) -> list[str]:
    return [
        r"\par\smallskip",
        r"\begin{minipage}{\textwidth}\footnotesize",
        " ".join(map(tex, texts)),
        r"\end{minipage}",
    ]


# Dividing -----------------------------------------------------------------------------------------


def _divided(block: Block) -> list[Block]:
    """Parts no wider than the text and no longer than a page, each with the column of labels."""
    groups: list[list[int]] = [[]]
    for run in _together(block):
        if groups[-1] and width_of(block, [0, *groups[-1], *run]) > TEXTWIDTH:
            groups.append([])
        groups[-1] += run
    rows = max(1, LINES // (2 if _stacked(block) else 1) - 5)
    return [
        Block(
            block.title,
            [block.columns[k] for k in (0, *group)],
            [[row[k] for k in (0, *group)] for row in block.rows[start : start + rows]],
            [rule - start for rule in block.rules if start < rule < start + rows],
        )
        for group in groups
        for start in range(0, len(block.rows), rows)
    ]


def _together(block: Block) -> list[list[int]]:
    """Columns that one head spans; one by one where they are wider than the text."""
    found, at = [], 1
    for _, count in runs(block.columns[1:]):
        own = list(range(at, at + count))
        at += count
        fits = width_of(block, [0, *own]) <= TEXTWIDTH
        found += [own] if fits else [[i] for i in own]
    return found


def width_of(block: Block, columns: Sequence[int]) -> float:
    """An estimate of the width of these columns, pt: a group's head may be wider than they are."""
    total, at = GAP * (len(columns) - 1), 0
    for group, count in runs([block.columns[k] for k in columns]):
        own = sum(_column(block, k) for k in columns[at : at + count])
        total += max(own, SMALLER * _width(group) - GAP * (count - 1))
        at += count
    return total


def _stacked(block: Block) -> bool:
    """Whether intervals stand below their numbers: those of differences."""
    return any(entry.interval.startswith("[") for row in block.rows for entry in row)


def _lines(block: Block) -> int:
    return 5 + len(block.rows) * (2 if _stacked(block) else 1)


def _column(block: Block, i: int) -> float:
    """The column's width in pt."""
    found = [_width(block.columns[i][1]), *(_entry_width(row[i]) for row in block.rows)]
    return min(max(found), LABELS * TEXTWIDTH) if _wraps(block, i) else max(found)


def _wraps(block: Block, i: int) -> bool:
    """Whether the column holds words that are too wide for one line."""
    words = not any(row[i].interval for row in block.rows)
    return words and max((_width(row[i].text) for row in block.rows), default=0) > (
        LABELS * TEXTWIDTH
    )


def _entry_width(entry: Entry) -> float:
    if entry.interval.startswith("["):
        below = SMALLER * _width(entry.interval)
        return max(_width(entry.text + entry.mark), below)
    bold = 1.15 if entry.bold else 1.0
    return bold * _width(entry.text) + SMALLER * _width(entry.interval) + _width(entry.mark) + 2


def _width(text: str) -> float:
    """pt of `text` in `\\small`."""
    wide = dict.fromkeys(".,:;[]()|'il ", 3.1) | dict.fromkeys("+-−±×≈<>=", 7.2)
    return sum(
        wide.get(c, 7.0 if c.isupper() or c in "mw%ΔΣ" else 4.9) for c in re.sub(r"λ_", "λ", text)
    )


# Typesetting --------------------------------------------------------------------------------------


def _headed(block: Block, several: bool) -> str:
    return (
        rf"\textit{{{tex(block.title)}}}\par\smallskip" * several + "\n" * several + _tabular(block)
    )


def _tabular(block: Block) -> str:
    heads, rules, start = [], [], 1
    for group, width in runs(block.columns):
        head = rf"\multicolumn{{{width}}}{{c}}{{\scriptsize {tex(group)}}}"
        heads.append(head if group else "&" * (width - 1))
        if group:
            rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
        start += width
    kinds = [
        rf"p{{{LABELS}\textwidth}}" if _wraps(block, i) else "l" if i == 0 else "c"
        for i in range(len(block.columns))
    ]
    lines = [
        rf"\begin{{tabular}}{{@{{}}{''.join(kinds)}@{{}}}}",
        r"\toprule",
        *([" & ".join(heads) + r" \\", "".join(rules)] if rules else []),
        " & ".join(tex(name) for _, name in block.columns) + r" \\",
        r"\midrule",
    ]
    for index, row in enumerate(block.rows):
        if index in block.rules:
            lines.append(r"\midrule")
        cells = [_typeset(entry, _wraps(block, i)) for i, entry in enumerate(row)]
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _typeset(entry: Entry, wraps: bool = False) -> str:
    text, mark = tex(entry.text), tex(entry.mark)
    text = text.replace("[", "{[}", 1) if text.startswith("[") else text  # an argument of \\
    text = rf"\textbf{{{text}}}" if entry.bold else text
    text = rf"\underline{{{text}}}" if entry.underline else text
    small = rf"{{\scriptsize {tex(entry.interval)}}}"
    if entry.interval.startswith("["):
        return rf"\begin{{tabular}}[t]{{@{{}}c@{{}}}}{text}{mark}\\{small}\end{{tabular}}"
    return r"\raggedright " * wraps + text + rf"\,{small}" * bool(entry.interval) + mark


# The folder ---------------------------------------------------------------------------------------


def main_of(folder: Path) -> str:
    """A document that shows every fragment of the folder and, where it has one, its plot."""
    names = [
        path.stem
        for path in sorted(folder.glob("*.tex"))
        if r"\begin{document}" not in path.read_text()
    ]
    body = []
    for name in names:
        body.append(rf"\input{{{name}}}")
        if (folder / f"{name}_page.pdf").exists():
            body += [
                r"\begin{figure}[tp]\centering",
                rf"\includegraphics[width=\textwidth]{{{name}_page.pdf}}",
                rf"\caption{{The plot of \texttt{{{tex(plain(name))}}}.}}",
                r"\end{figure}",
            ]
        body.append(r"\clearpage")
    return "\n".join(
        [
            r"\documentclass{article}",
            r"\usepackage[utf8]{inputenc}",
            r"\usepackage[T1]{fontenc}",
            r"\usepackage{booktabs,graphicx}",
            r"\begin{document}",
            *body,
            r"\end{document}",
            "",
        ]
    )
