"""Everything below reports/<profile>/, from results alone: tables, claims.md, index.html."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from direct.common.files import write_text
from direct.common.text import plain

from ..claims import NOT_RUN, UNRESOLVED, Finding, verdicts
from ..tables import Table
from . import claims, gallery
from .gallery import Gallery
from .page import Section, document, section, section_of, word_table


def report(
    tables: dict[str, Table],
    shown: list[str],
    folder: Path,
    more: Sequence[Section] = (),
    whole: bool = True,
) -> list[Path]:
    """Writes the tables named in `shown` and, if `whole`, the claims about all and the page of all.

    `more`: what is not a table of scores, in its place behind them.
    """
    paths = [path for name in shown for path in render(tables[name], folder)]
    if not whole:
        return paths
    found = verdicts(tables)
    judge = next(iter(tables.values())).judge
    shown_tables = [tables[name] for name in shown]
    sections = [
        section_of(table, (folder / f"{table.ablation.file}.svg").read_text())
        for table in shown_tables
    ]
    clips = gallery.read(folder)
    known = {cell.id for table in tables.values() for line in table.lines for cell in line.cells}
    if clips and not known.issuperset(clips.cells):
        clips = None  # of an earlier configuration
    texts = {
        "claims.md": claims.markdown(found, judge),
        "index.html": index(shown_tables, [*sections, *more], found, judge, clips),
    }
    for name, text in texts.items():
        paths.append(folder / name)
        write_text(paths[-1], text)
    return paths


def index(
    tables: Sequence[Table],
    sections: Sequence[Section],
    findings: list[Finding],
    judge: str,
    clips: Gallery | None = None,
) -> str:
    """One page with clips, claims, all tables and plots, and provenance. No request."""
    title = f"DiReCT, run again: {plain(judge)}"
    links = [("clips", "Clips")] * bool(clips) + [("claims", "Claims")]
    links += [(x.name, x.title.split(":")[0]) for x in sections] + [("provenance", "Provenance")]
    return document(
        title,
        [
            "<header>",
            f"<h1>{escape(title)}</h1>",
            '<nav aria-label="Contents"><ul>',
            *(f'<li><a href="#{escape(anchor)}">{escape(text)}</a></li>' for anchor, text in links),
            "</ul></nav></header>",
            '<main id="content">',
            *([gallery.section(clips)] if clips else []),
            _claims(findings, judge),
            *map(section, sections),
            _provenance(tables),
            "</main>",
        ],
        script=bool(clips),
    )


def _claims(findings: list[Finding], judge: str) -> str:
    rows = []
    for (text, verdict, p, contrasts, place), x in zip(
        claims.rows(findings), findings, strict=True
    ):
        kind = {UNRESOLVED: "unresolved", NOT_RUN: "open"}.get(x.verdict, x.verdict)
        middle = "<br>".join(map(escape, contrasts))
        if len(contrasts) > 4:
            middle = f"<details><summary>{len(contrasts)} contrasts</summary>{middle}</details>"
        rows.append(
            f'<tr class="{kind}"><th scope="row">{escape(text)}</th>'
            f"<td>{escape(verdict)}</td><td>{escape(p)}</td><td>{middle}</td>"
            f"<td>{escape(place)}</td></tr>"
        )
    return "\n".join(
        [
            '<section id="claims"><h2>Claims of the paper</h2>',
            f"<p>{escape(claims.explanation(findings, plain(judge)))}</p>",
            word_table(claims.HEADS, rows, "Claims"),
            "</section>",
        ]
    )


def _provenance(tables: Sequence[Table]) -> str:
    kinds: dict[str, list[str]] = {}
    for table in tables:
        for kind, values in table.provenance.items():
            known = kinds.setdefault(kind, [])
            known += [text for value in values if (text := _words(value)) not in known]
    rows = [
        f'<tr><th scope="row">{escape(plain(kind))}</th>'
        f"<td>{'<br>'.join(map(escape, texts))}</td></tr>"
        for kind, texts in sorted(kinds.items())
    ]
    cells = sorted({cell.id for table in tables for line in table.lines for cell in line.cells})
    return "\n".join(
        [
            '<section id="provenance"><h2>Provenance</h2>',
            word_table((), rows, "Provenance"),
            f"<details><summary>{len(cells)} cells</summary><pre>{' '.join(cells)}</pre></details>",
            "</section>",
        ]
    )


def _words(value: object) -> str:
    if isinstance(value, dict):
        return plain(", ".join(f"{key} {item}" for key, item in sorted(value.items())))
    return plain(str(value))


def render(table: Table, folder: Path) -> list[Path]:
    """Writes `folder/table_x.{md,tex,csv,html,svg,json}`."""
    from . import measured_plots, plots
    from .page import html
    from .text import csv, latex, markdown, provenance

    svg = (measured_plots if table.ablation.measured else plots).svg(table)
    written = {
        "md": markdown(table),
        "tex": latex(table),
        "csv": csv(table),
        "svg": svg,
        "html": html(table, svg),
        "json": provenance(table),
    }
    paths = []
    for suffix, text in written.items():
        paths.append(folder / f"{table.ablation.file}.{suffix}")
        write_text(paths[-1], text)
    return paths
