r"""A table as LaTeX, to be `\input` into a paper: booktabs, no document around it.

It fits the text of LaTeX's own `article` at 10 pt in `\small`, unscaled: an interval stands smaller
behind its number, or below it; what is wider is divided into blocks, what is longer into floats.
Widths and heights are estimates from Computer Modern's, a little too large. `main.tex` shows a
folder.

Everything that comes from outside is escaped. The same bytes for the same results.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path

from direct.common.errors import UserError, nearest
from direct.common.text import plain

from .. import paper
from ..tables import Table
from .entry import Entry
from .layout import Block, blocks, runs
from .words import notes, sources, title

SCORES = ("SA", "PC", "AVG")  # the columns of most of the paper's tables
TEXTWIDTH = 345.0  # pt, of `article` at 10 pt, the narrowest in use
GAP = 8.0  # pt between columns
TEXTHEIGHT = 550.0  # pt, of the same
LINE = 11.0  # pt from line to line in `\\small`; in a caption 12, in the notes 9.5
APART = 3.0  # pt between rows of two lines
LABELS = 0.27  # of the text width, for a column of words that leave no room for the others
SMALLER = 0.87  # of `\\small`: `\\scriptsize`, whose letters are wider for their height

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
    text = text.replace("--", "-\2-")  # of an option: no dash
    out = "".join(_TEX.get(c, c if c.isascii() or "À" <= c <= "ž" else "?") for c in text)
    out = out.replace("\2", "{}")
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
    tabulars = [piece for part in parts for piece in _divided(part, room)]
    floats: list[list[str]] = [[]]
    left = first
    several = len(tabulars) > 1
    drawn = [(_headed(x, several), _height(x)) for x in tabulars]
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
    return ceil(_width(text) / (TEXTWIDTH * letters))


def _notes(texts: Sequence[str]) -> str:
    words = " ".join(map(tex, texts))
    return "\n".join([r"\begin{minipage}{\textwidth}\footnotesize", words, r"\end{minipage}"])


# Dividing -----------------------------------------------------------------------------------------


def _divided(block: Block, height: float) -> list[Block]:
    """Parts no wider than the text and no higher, each with the column of labels."""
    groups: list[list[int]] = [[]]
    for run in _together(block):
        if groups[-1] and width_of(block, [0, *groups[-1], *run]) > TEXTWIDTH:
            groups.append([])
        groups[-1] += run
    return [piece for group in groups for piece in _pages(_part(block, [0, *group]), height)]


def _part(block: Block, columns: Sequence[int]) -> Block:
    return replace(
        block,
        columns=[block.columns[k] for k in columns],
        rows=[[row[k] for k in columns] for row in block.rows],
    )


def _pages(block: Block, height: float) -> list[Block]:
    """The rows in parts of at most this height."""
    starts, left = [0], height - _height(replace(block, rows=[]))
    for i, row in enumerate(block.rows):
        own = _row_height(block, row)
        if own > left and i > starts[-1]:
            starts.append(i)
            left = height - _height(replace(block, rows=[]))
        left -= own
    ends = [*starts[1:], len(block.rows)]
    return [
        replace(
            block,
            rows=block.rows[start:end],
            rules=[rule - start for rule in block.rules if start < rule < end],
        )
        for start, end in zip(starts, ends, strict=True)
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


def _height(block: Block) -> float:
    """An estimate, pt: its title and rules, its heads, its rows."""
    heads = 2 if any(group for group, _ in block.columns) else 1
    rows = sum(_row_height(block, row) for row in block.rows)
    return 40 + LINE * heads + 8 * len(block.rules) + rows


def _row_height(block: Block, row: Sequence[Entry]) -> float:
    """pt: as many lines as its words take, or its interval."""
    lines = [ceil(1.1 * _width(x.text) / _words(block, i)) for i, x in enumerate(row) if _wraps(x)]
    stacked = _stacked(block)
    return LINE * max([2 if stacked else 1, *lines]) + APART * stacked


def _column(block: Block, i: int) -> float:
    """The column's width in pt, at the least."""
    widths = [
        min(_width(x.text), LABELS * TEXTWIDTH) if _wraps(x) else _entry_width(x)
        for x in (row[i] for row in block.rows)
    ]
    return max([_width(block.columns[i][1]), *widths])


def _words(block: Block, i: int) -> float:
    """pt for words in the column: of labels, what the others leave."""
    columns = range(len(block.columns))
    left = TEXTWIDTH - width_of(block, columns) + _column(block, 0) if i == 0 else 0.0
    return max(LABELS * TEXTWIDTH, left)


def _wraps(entry: Entry) -> bool:
    """Whether it is words that may be too wide for one line."""
    return not entry.interval and _width(entry.text) > LABELS * TEXTWIDTH


def _entry_width(entry: Entry) -> float:
    if entry.interval.startswith("["):
        below = SMALLER * _width(entry.interval)
        return max(_width(entry.text + entry.mark), below)
    bold = 1.15 if entry.bold else 1.0
    return bold * _width(entry.text) + SMALLER * _width(entry.interval) + _width(entry.mark) + 2


def _width(text: str) -> float:
    """pt of `text` in `\\small`."""
    wide = dict.fromkeys(".,:;[]()|'il ", 3.1) | dict.fromkeys("+-−±×≈<>=", 7.2)
    wide |= dict.fromkeys("MWm", 8.5)
    return sum(
        wide.get(c, 7.0 if c.isupper() or c in "w%ΔΣ" else 4.9) for c in re.sub(r"λ_", "λ", text)
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
        elif index and _stacked(block):
            lines.append(rf"\addlinespace[{APART:g}pt]")
        cells = [_typeset(entry, _words(block, i)) for i, entry in enumerate(row)]
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
    if _wraps(entry) and _width(entry.text) > room:
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
