"""A table as one HTML page that asks nothing of the network."""

from __future__ import annotations

from html import escape

from .layout import Block, Entry, blocks, caption, notes, runs
from .progress import plain
from .tables import Table

STYLE = """
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
    title = f"Table {table.ablation.table}: {plain(table.ablation.title)}"
    drawing = svg[svg.index("<svg"):]  # without the XML declaration
    return "\n".join([
        "<!doctype html>", '<html lang="en">', '<head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>", f"<style>\n{STYLE}\n</style></head>", "<body><main>",
        f"<h1>{escape(title)}</h1>", f"<p>{escape(caption(table))}</p>",
        *(table_block(block) for block in blocks(table)),
        f"<figure>{drawing}</figure>",
        "<ul class=note>", *(f"<li>{escape(note)}</li>" for note in notes(table)), "</ul>",
        "</main></body></html>", "",
    ])


def table_block(block: Block) -> str:
    groups = "".join(f'<th colspan="{width}" scope="colgroup">{escape(group)}</th>' if group
                     else "<td></td>" * width for group, width in runs(block.columns))
    titles = "".join(f'<th scope="col">{escape(title)}</th>' for _, title in block.columns)
    rows = []
    for index, row in enumerate(block.rows):
        kind = ' class="rule"' if index in block.rules else ""
        cells = "".join(f"<td>{_html_entry(entry)}</td>" for entry in row[1:])
        rows.append(f'<tr{kind}><th scope="row">{escape(row[0].text)}</th>{cells}</tr>')
    return (f'<h2>{escape(block.title)}</h2><div class="scroll" tabindex="0"><table>'
            f"<thead><tr>{groups}</tr><tr>{titles}</tr></thead>\n<tbody>\n"
            + "\n".join(rows) + "\n</tbody></table></div>")


def _html_entry(entry: Entry) -> str:
    text = escape(entry.text)
    text = f"<strong>{text}</strong>" if entry.bold else text
    return f"<u>{text}</u>" if entry.underline else text
