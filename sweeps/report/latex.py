r"""A table as LaTeX, to be `\input` into a paper: booktabs, no document around it.

It fits the text of LaTeX's own `article` at 10 pt in `\small`, unscaled: an interval stands smaller
behind its number, or below it; what is wider is divided into blocks, what is longer into floats
(`tex_sizes`). Everything that comes from outside is escaped (`tex_escape`). `main.tex` shows a
folder. The same bytes for the same results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path

from direct.common.errors import UserError, nearest
from direct.common.text import plain

from .. import paper
from ..table import Table
from .entry import Entry
from .layout import Block, blocks, runs
from .tex_escape import tex
from .tex_sizes import (
    APART,
    GAP,
    TEXTHEIGHT,
    TEXTWIDTH,
    divided,
    height_of,
    room_for,
    stacked,
    text_width,
    wraps,
)
from .words import notes, sources, title

SCORES = ("SA", "PC", "AVG")  # the columns of most of the paper's tables


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
    shown = [
        _shortened(_merged(x)) for x in _without_sizes(blocks(table, columns_of(table, columns)))
    ]
    texts = [*sources(table), *notes(table, gains=False)]
    return fragment(table.ablation.name, title(table), texts, shown)


def _without_sizes(found: list[Block]) -> list[Block]:
    """How many runs a row has is said below the table, unless rows differ in it."""
    first, *others = found
    sizes = {row[1].text for row in first.rows if " × " in row[1].text}
    if len(sizes) > 1:
        return found
    rows = [[row[0], *row[2:]] for row in first.rows]
    return [replace(first, columns=[first.columns[0], *first.columns[2:]], rows=rows), *others]


def _merged(block: Block) -> Block:
    """Two columns of labels, a row's and its partner's, as one."""
    if block.columns[1] != ("", "minus"):
        return block
    rows = [[replace(a, text=f"{a.text} minus {b.text}"), *others] for a, b, *others in block.rows]
    return replace(block, columns=[block.columns[0], *block.columns[2:]], rows=rows)


def _shortened(block: Block) -> Block:
    """The notes say what the published numbers are of."""
    heads = [
        (group.replace(f"{paper.SCALE}:", "published:"), name) for group, name in block.columns
    ]
    return replace(block, columns=heads)


def fragment(name: str, caption: str, texts: Sequence[str], parts: Sequence[Block]) -> str:
    """One float, or several under one number; `texts` stand as notes below the last."""
    first, room = (
        TEXTHEIGHT - 25 - 12 * _wrapped(f"Table 10: {text}", 0.9)
        for text in (caption, f"{caption} (Continued.)")
    )
    tabulars = [piece for part in parts for piece in divided(part, room)]
    floats: list[list[str]] = [[]]
    left = first
    several = len(tabulars) > 1
    drawn = [(_headed(x, several), height_of(x)) for x in tabulars]
    drawn += [(_notes(texts), 3 + 9.5 * _wrapped(" ".join(texts), 1.15))] * bool(texts)
    for text, height in drawn:
        if floats[-1] and height > left:
            floats.append([])
            left = room
        floats[-1].append(text)
        left -= height
    label = [rf"\caption{{{tex(caption)}}}", rf"\label{{tab:{name}}}"]
    again = [r"\addtocounter{table}{-1}", rf"\caption[]{{{tex(caption)} (Continued.)}}"]
    lines = [rf"% {name}: a fragment; its document needs \usepackage{{booktabs}}"]
    for k, own in enumerate(floats):
        lines += [
            r"\begin{table}[tp]",
            r"\centering\small",
            rf"\setlength{{\tabcolsep}}{{{GAP / 2:g}pt}}",
            *(again if k else label),
            r"\par\smallskip",
            "\n\\par\\medskip\n".join(own),
            r"\end{table}",
        ]
    return "\n".join([*lines, ""])


def _wrapped(text: str, letters: float) -> int:
    """How many lines of the text's width it takes, with as many letters as `\\small` or more."""
    return ceil(text_width(text) / (TEXTWIDTH * letters))


def _notes(texts: Sequence[str]) -> str:
    words = " ".join(map(tex, texts))
    return "\n".join([r"\begin{minipage}{\textwidth}\footnotesize", words, r"\end{minipage}"])


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
    lines = [
        rf"\begin{{tabular}}{{@{{}}l{'c' * (len(block.columns) - 1)}@{{}}}}",
        r"\toprule",
        *([" & ".join(heads) + r" \\", "".join(rules)] if rules else []),
        " & ".join(tex(name) for _, name in block.columns) + r" \\",
        r"\midrule",
    ]
    for index, row in enumerate(block.rows):
        if index in block.rules:
            lines.append(r"\midrule")
        elif index and stacked(block):
            lines.append(rf"\addlinespace[{APART:g}pt]")
        cells = [_typeset(entry, room_for(block, i)) for i, entry in enumerate(row)]
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _typeset(entry: Entry, room: float) -> str:
    """An entry; words wider than `room` pt are set in lines."""
    text, mark = tex(entry.text), tex(entry.mark)
    text = text.replace("[", "{[}", 1) if text.startswith("[") else text  # an argument of \\
    text = rf"\textbf{{{text}}}" if entry.bold else text
    text = rf"\underline{{{text}}}" if entry.underline else text
    small = rf"{{\scriptsize {tex(entry.interval)}}}"
    if entry.interval.startswith("["):
        return rf"\begin{{tabular}}[t]{{@{{}}c@{{}}}}{text}{mark}\\{small}\end{{tabular}}"
    if wraps(entry) and text_width(entry.text) > room:
        share = int(100 * room / TEXTWIDTH) / 100
        return rf"\parbox[t]{{{share}\textwidth}}{{\raggedright {text}{mark}\strut}}"
    return text + rf"\,{small}" * bool(entry.interval) + mark


# The folder ---------------------------------------------------------------------------------------


def main_of(folder: Path) -> str:
    """A document that shows every fragment of the folder and, where it is drawn, its plot.

    Git keeps no PDF of a plot: the document asks for it when it is compiled.
    """
    names = [path.stem for path in sorted(folder.glob("*.tex")) if _is_fragment(path)]
    return "\n".join(
        [
            r"\documentclass{article}",
            r"\usepackage[utf8]{inputenc}",
            r"\usepackage[T1]{fontenc}",
            r"\IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}",
            r"\usepackage{booktabs,graphicx}",
            r"\newcommand{\plot}[2]{\IfFileExists{#1_page.pdf}{\begin{figure}[tp]\centering",
            r"\includegraphics[width=\textwidth]{#1_page.pdf}",
            r"\caption{The plot of \texttt{#2}.}\end{figure}}{}}",
            r"\begin{document}",
            *(
                rf"\input{{{name}}}\plot{{{name}}}{{{tex(plain(name))}}}\clearpage"
                for name in names
            ),
            r"\end{document}",
            "",
        ]
    )


def _is_fragment(path: Path) -> bool:
    """Whether it is a part of a document, in whatever encoding; no whole one, and a file at all."""
    return path.is_file() and rb"\begin{document}" not in path.read_bytes()
