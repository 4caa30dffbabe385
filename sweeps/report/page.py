"""What stands on a page, as plain data: sections, and a table's own page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..table import Table
from .layout import Block, blocks
from .summary import Summary, summary
from .template import fill
from .words import caption, notes


@dataclass(frozen=True)
class Section:
    """A table or figure on a page. Texts are plain; `drawing` is an SVG document of our own."""

    name: str  # its anchor
    title: str
    text: str = ""
    blocks: tuple[Block, ...] = ()
    drawing: str = ""
    notes: tuple[str, ...] = ()
    summary: Summary | None = None  # what stands there before it is opened
    extra: bool = False  # a table that `all` leaves out: folded where there are others


def section_of(table: Table, drawing: str) -> Section:
    return Section(
        f"table-{table.ablation.name}",
        f"{table.ablation.place}: {table.ablation.title}",
        caption(table),
        tuple(blocks(table)),
        drawing,
        tuple(notes(table)),
        summary(table),
        table.ablation.extra,
    )


def html(table: Table, svg: str, clips: dict[str, Any] | None = None) -> str:
    """The table's own page; with clips of its rows, where they were made (`arms`)."""
    found = section_of(table, svg)
    return fill("table.html", title=found.title, section=found, clips=clips, scripted=bool(clips))
