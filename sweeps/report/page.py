"""HTML that asks nothing of the network: documents, sections, tables, drawings.

All text is escaped here. The policy in a document's head admits our one style sheet and our one
script by their hashes and pictures that stand in the page itself: nothing else runs or loads.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path

from direct.common.text import plain

from ..tables import Table
from .layout import Block, Entry, blocks, caption, notes, runs

STYLE, SCRIPT = (Path(__file__).with_name(name).read_text() for name in ("page.css", "page.js"))


@dataclass(frozen=True)
class Section:
    """A table or figure on a page. Texts are plain; `drawing` is an SVG document of our own."""

    name: str  # its anchor
    title: str
    text: str = ""
    blocks: tuple[Block, ...] = ()
    drawing: str = ""
    notes: tuple[str, ...] = ()


def section_of(table: Table, drawing: str) -> Section:
    title = f"{table.ablation.place}: {plain(table.ablation.title)}"
    return Section(
        f"table-{table.ablation.name}",
        title,
        caption(table),
        tuple(blocks(table)),
        drawing,
        tuple(notes(table)),
    )


def html(table: Table, svg: str) -> str:
    """The table's own page."""
    found = section_of(table, svg)
    return document(
        found.title,
        [f'<main id="content"><h1>{escape(found.title)}</h1>', *body(found, level=2), "</main>"],
    )


def document(title: str, content: Iterable[str], script: bool = False) -> str:
    """A whole page around `content`, which is HTML."""
    policy = [
        "default-src 'none'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        f"style-src-elem '{_hash(STYLE)}'",
        "style-src-attr 'unsafe-inline'",
    ]  # the plots' own
    policy += [f"script-src '{_hash(SCRIPT)}'"] * script
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            '<head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{"; ".join(policy)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            '<link rel="icon" href="data:,">',
            f"<title>{escape(plain(title))}</title>",
            f"<style>{STYLE}</style></head>",
            '<body><a class="skip" href="#content">To the content</a>',
            *content,
            *([f"<script>{SCRIPT}</script>"] * script),
            "</body></html>",
            "",
        ]
    )


def _hash(text: str) -> str:
    """The source expression that admits exactly this inline text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def section(found: Section) -> str:
    return "\n".join(
        [
            f'<section id="{escape(found.name)}"><h2>{escape(found.title)}</h2>',
            *body(found, level=3),
            "</section>",
        ]
    )


def body(found: Section, level: int) -> list[str]:
    """What stands under a section's heading; `level` of the headings in it."""
    parts = [f"<p>{escape(found.text)}</p>"] if found.text else []
    parts += [table_block(block, level) for block in found.blocks]
    if found.drawing:
        parts.append(
            f'<div class="plot" tabindex="0" role="region" aria-label="Plot, '
            f'{escape(found.title)}">{drawing(found.drawing, found.name, found.title)}'
            "</div>"
        )
    if found.notes:
        parts.append(
            '<ul class="note">'
            + "".join(f"<li>{escape(note)}</li>" for note in found.notes)
            + "</ul>"
        )
    return parts


def table_block(block: Block, level: int = 2) -> str:
    groups = "".join(
        f'<th colspan="{width}" scope="colgroup">{escape(group)}</th>'
        if group
        else "<td></td>" * width
        for group, width in runs(block.columns)
    )
    titles = "".join(f'<th scope="col">{escape(title)}</th>' for _, title in block.columns)
    rows = []
    for index, row in enumerate(block.rows):
        kind = ' class="rule"' if index in block.rules else ""
        cells = "".join(f"<td>{_entry(entry)}</td>" for entry in row[1:])
        rows.append(f'<tr{kind}><th scope="row">{escape(row[0].text)}</th>{cells}</tr>')
    return (
        f"<h{level}>{escape(block.title)}</h{level}>"
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(block.title)}">'
        f"<table><thead><tr>{groups}</tr><tr>{titles}</tr></thead>\n<tbody>\n"
        + "\n".join(rows)
        + "\n</tbody></table></div>"
    )


def word_table(heads: Iterable[str], rows: Iterable[str], label: str) -> str:
    """A table of sentences; `rows` are HTML."""
    titles = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    head = f"<thead><tr>{titles}</tr></thead>" if titles else ""
    return "\n".join(
        [
            f'<div class="scroll" role="region" aria-label="{escape(label)}" tabindex="0">',
            f'<table class="words">{head}<tbody>',
            *rows,
            "</tbody></table></div>",
        ]
    )


def _entry(entry: Entry) -> str:
    text = escape(entry.text)
    text = f"<strong>{text}</strong>" if entry.bold else text
    return f"<u>{text}</u>" if entry.underline else text


# Drawings -----------------------------------------------------------------------------------------

COLORS = {  # of a plot's file, and of the page, where they follow the reader's scheme
    "fill: #ffffff": "fill: none",
    "#ffffff": "var(--page)",
    "#000000": "currentColor",
    "#0072b2": "var(--ours)",
    "#009e73": "var(--second)",
    "#cc79a7": "var(--third)",
    "#d55e00": "var(--paper)",
    "#b0b0b0": "var(--grid)",
    "#777777": "var(--level)",
}


def drawing(svg: str, name: str, label: str) -> str:
    """An SVG document as an element of the page, in the page's colours and font."""
    svg = svg[svg.index("<svg") :]  # without the XML declaration
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.S)
    svg = re.sub(r"font-family: [^;\"]*;?", "", svg)
    svg = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0]), svg)  # 0.01 pt
    for color, variable in COLORS.items():
        svg = svg.replace(color, variable)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", svg, count=1)
    return own_ids(svg, name).replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)


def own_ids(svg: str, name: str) -> str:
    """Every id of the drawing gets a name in front: one page holds several drawings."""
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    return re.sub(r'(href="#|url\(#)', rf"\1{name}-", svg)
