"""How wide and high a table is in LaTeX, and its parts that fit a page.

Widths and heights are estimates from Computer Modern's, a little too large.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from math import ceil

from .entry import Entry
from .layout import Block, runs

TEXTWIDTH = 345.0  # pt, of `article` at 10 pt, the narrowest in use
GAP = 8.0  # pt between columns
TEXTHEIGHT = 550.0  # pt, of the same
LINE = 11.0  # pt from line to line in `\\small`; in a caption 12, in the notes 9.5
APART = 3.0  # pt between rows of two lines
LABELS = 0.27  # of the text width, for a column of words that leave no room for the others
SMALLER = 0.87  # of `\\small`: `\\scriptsize`, whose letters are wider for their height


def divided(block: Block, height: float) -> list[Block]:
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
    starts, left = [0], height - height_of(replace(block, rows=[]))
    for i, row in enumerate(block.rows):
        own = row_height(block, row)
        if own > left and i > starts[-1]:
            starts.append(i)
            left = height - height_of(replace(block, rows=[]))
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
        own = sum(column_width(block, k) for k in columns[at : at + count])
        total += max(own, SMALLER * text_width(group) - GAP * (count - 1))
        at += count
    return total


def stacked(block: Block) -> bool:
    """Whether intervals stand below their numbers: those of differences."""
    return any(entry.interval.startswith("[") for row in block.rows for entry in row)


def height_of(block: Block) -> float:
    """An estimate, pt: its title and rules, its heads, its rows."""
    heads = 2 if any(group for group, _ in block.columns) else 1
    rows = sum(row_height(block, row) for row in block.rows)
    return 40 + LINE * heads + 8 * len(block.rules) + rows


def row_height(block: Block, row: Sequence[Entry]) -> float:
    """pt: as many lines as its words take, or its interval."""
    lines = [
        ceil(1.1 * text_width(x.text) / room_for(block, i)) for i, x in enumerate(row) if wraps(x)
    ]
    below = stacked(block)
    return LINE * max([2 if below else 1, *lines]) + APART * below


def column_width(block: Block, i: int) -> float:
    """The column's width in pt, at the least."""
    widths = [
        min(text_width(x.text), LABELS * TEXTWIDTH) if wraps(x) else entry_width(x)
        for x in (row[i] for row in block.rows)
    ]
    return max([text_width(block.columns[i][1]), *widths])


def room_for(block: Block, i: int) -> float:
    """pt for words in the column: of labels, what the others leave."""
    columns = range(len(block.columns))
    left = TEXTWIDTH - width_of(block, columns) + column_width(block, 0) if i == 0 else 0.0
    return max(LABELS * TEXTWIDTH, left)


def wraps(entry: Entry) -> bool:
    """Whether it is words that may be too wide for one line."""
    return not entry.interval and text_width(entry.text) > LABELS * TEXTWIDTH


def entry_width(entry: Entry) -> float:
    if entry.interval.startswith("["):
        below = SMALLER * text_width(entry.interval)
        return max(text_width(entry.text + entry.mark), below)
    bold = 1.15 if entry.bold else 1.0
    return (
        bold * text_width(entry.text)
        + SMALLER * text_width(entry.interval)
        + text_width(entry.mark)
        + 2
    )


def text_width(text: str) -> float:
    """pt of `text` in `\\small`."""
    wide = dict.fromkeys(".,:;[]()|'il ", 3.1) | dict.fromkeys("+-−±×≈<>=", 7.2)
    wide |= dict.fromkeys("MWm", 8.5)
    return sum(
        wide.get(c, 7.0 if c.isupper() or c in "w%ΔΣ" else 4.9) for c in re.sub(r"λ_", "λ", text)
    )
