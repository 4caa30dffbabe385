"""Everything below reports/<profile>/, from results alone: tables, claims.md, index.html."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

from direct.files import write_text

from . import claims
from .claims import Finding
from .layout import blocks, caption, notes
from .page import STYLE, table_block
from .progress import plain
from .tables import Table, render


def report(tables: dict[str, Table], shown: list[str], folder: Path) -> list[Path]:
    """Writes the tables named in `shown`, the claims about all, and the page that holds it all."""
    paths = [path for name in shown for path in render(tables[name], folder)]
    found = claims.findings(tables)
    judge = next(iter(tables.values())).judge
    drawings = {name: (folder / f"{tables[name].ablation.file}.svg").read_text() for name in shown}
    texts = {"claims.md": claims.markdown(found, judge),
             "index.html": index({name: tables[name] for name in shown}, drawings, found, judge)}
    for name, text in texts.items():
        paths.append(folder / name)
        write_text(paths[-1], text)
    return paths


_STYLE = STYLE + """
:root { --line: color-mix(in srgb, CanvasText 25%, Canvas); }
body { max-width: 80rem; overflow-wrap: break-word; }
a:focus-visible, summary:focus-visible, .scroll:focus-visible { outline: 3px solid Highlight; }
.skip { position: absolute; left: -100vw; }
.skip:focus { left: 1rem; top: 1rem; background: Canvas; padding: .5rem; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; padding: 0; list-style: none; }
section { border-top: 1px solid var(--line); margin-top: 2rem; }
figure { overflow-x: auto; }
figure svg { min-width: 40rem; }
table.claims { white-space: normal; min-width: 48rem; }
table.claims td, table.claims th { padding: .25rem .5rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
.reproduced td:nth-child(2) { border-left: .4rem solid #0072B2; }
.contradicted td:nth-child(2) { border-left: .4rem solid #D55E00; }
.unresolved td:nth-child(2) { border-left: .4rem dotted #777; }
pre { white-space: pre-wrap; }
@media (prefers-color-scheme: dark) { figure { filter: invert(.9) hue-rotate(180deg); } }
@media print { .scroll, figure { overflow: visible; } }
"""


def index(tables: dict[str, Table], drawings: dict[str, str], findings: list[Finding], judge: str
          ) -> str:
    """One page with all tables, plots, claims and provenance. No script, no request.

    `drawings`: the tables' plots, SVG documents.
    """
    judge = plain(judge)
    links = [("claims", "Claims")] + [(f"table-{name}", f"Table {table.ablation.table}")
                                      for name, table in tables.items()]
    links.append(("provenance", "Provenance"))
    return "\n".join([
        "<!doctype html>", '<html lang="en">', '<head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        'style-src \'unsafe-inline\'">',
        f"<title>DiReCT, run again: {escape(judge)}</title>",
        f"<style>\n{_STYLE}</style></head>",
        '<body><a class="skip" href="#content">To the content</a>', "<header>",
        f"<h1>DiReCT, run again: {escape(judge)}</h1>", '<nav aria-label="Contents"><ul>',
        *(f'<li><a href="#{escape(anchor)}">{escape(text)}</a></li>' for anchor, text in links),
        "</ul></nav></header>", '<main id="content">',
        _claims(findings, judge),
        *(_table(name, table, drawings[name]) for name, table in tables.items()),
        _provenance(tables), "</main></body></html>", "",
    ])


def _claims(findings: list[Finding], judge: str) -> str:
    rows = []
    for (text, verdict, p, contrasts, place), x in zip(claims.rows(findings), findings,
                                                       strict=True):
        kind = {claims.UNRESOLVED: "unresolved", claims.NOT_RUN: "open"}.get(x.verdict, x.verdict)
        middle = "<br>".join(map(escape, contrasts))
        if len(contrasts) > 4:
            middle = (f"<details><summary>{len(contrasts)} contrasts</summary>{middle}</details>")
        rows.append(f'<tr class="{kind}"><th scope="row">{escape(text)}</th>'
                    f"<td>{escape(verdict)}</td><td>{escape(p)}</td><td>{middle}</td>"
                    f"<td>{escape(place)}</td></tr>")
    heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in claims.HEADS)
    return "\n".join([
        '<section id="claims"><h2>Claims of the paper</h2>',
        f"<p>{escape(claims.explanation(findings, judge))}</p>",
        '<div class="scroll" role="region" aria-label="Claims" tabindex="0">',
        f'<table class="claims"><thead><tr>{heads}</tr></thead><tbody>', *rows,
        "</tbody></table></div></section>"])


def _table(name: str, table: Table, svg: str) -> str:
    title = f"Table {table.ablation.table}: {plain(table.ablation.title)}"
    drawing = own_ids(svg[svg.index("<svg"):], name)
    drawing = drawing.replace("<svg", f'<svg role="img" aria-label="{escape(title)}, plotted"', 1)
    return "\n".join([
        f'<section id="table-{escape(name)}"><h2>{escape(title)}</h2>',
        f"<p>{escape(caption(table))}</p>",
        *(table_block(block).replace("<h2>", "<h3>").replace("</h2>", "</h3>")
          for block in blocks(table)),
        f'<figure tabindex="0">{drawing}</figure>',
        '<ul class="note">', *(f"<li>{escape(note)}</li>" for note in notes(table)),
        "</ul></section>"])


def own_ids(svg: str, name: str) -> str:
    """Every id of the drawing gets the table's name in front: one page holds several drawings."""
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    return re.sub(r'(href="#|url\(#)', rf"\1{name}-", svg)


def _provenance(tables: dict[str, Table]) -> str:
    kinds: dict[str, list[str]] = {}
    for table in tables.values():
        for kind, values in table.provenance.items():
            known = kinds.setdefault(kind, [])
            known += [text for value in values if (text := _words(value)) not in known]
    rows = "".join(f'<tr><th scope="row">{escape(plain(kind))}</th>'
                   f'<td>{"<br>".join(map(escape, texts))}</td></tr>'
                   for kind, texts in sorted(kinds.items()))
    cells = sorted({cell.id for table in tables.values() for line in table.lines
                    for cell in line.cells})
    return ('<section id="provenance"><h2>Provenance</h2><div class="scroll" role="region" '
            f'aria-label="Provenance" tabindex="0"><table class="claims">{rows}</table></div>'
            f"<details><summary>{len(cells)} cells</summary><pre>{' '.join(cells)}</pre></details>"
            "</section>")


def _words(value: object) -> str:
    if isinstance(value, dict):
        return plain(", ".join(f"{key} {item}" for key, item in sorted(value.items())))
    return plain(str(value))
