"""Everything below reports/<profile>/, from results alone: tables, claims.md, index.html."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from direct.common.files import write_text

from ..claims import NOT_RUN, UNRESOLVED, Finding, verdicts
from ..tables import Table
from . import claims, gallery
from .gallery import Gallery
from .page import Section, section_of
from .template import fill


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
    paths = [path for name in shown for path in write_table(tables[name], folder)]
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
    links = [("clips", "Clips")] * bool(clips) + [("claims", "Claims")]
    links += [(x.name, x.title.split(":")[0]) for x in sections] + [("provenance", "Provenance")]
    kinds = [
        {UNRESOLVED: "unresolved", NOT_RUN: "open"}.get(x.verdict, x.verdict) for x in findings
    ]
    return fill(
        "index.html",
        title=f"DiReCT, run again: {judge}",
        links=links,
        clips=gallery.shown(clips) if clips else None,
        plays=bool(clips),
        claims={
            "explanation": claims.explanation(findings, judge),
            "heads": claims.HEADS,
            "rows": list(zip(kinds, claims.rows(findings), strict=True)),
        },
        sections=sections,
        provenance=_provenance(tables),
        cells=sorted({cell.id for table in tables for line in table.lines for cell in line.cells}),
    )


def _provenance(tables: Sequence[Table]) -> list[tuple[str, list[str]]]:
    """Kinds, and what the tables say of each, every text once."""
    kinds: dict[str, list[str]] = {}
    for table in tables:
        for kind, values in table.provenance.items():
            known = kinds.setdefault(kind, [])
            known += [text for value in values if (text := _words(value)) not in known]
    return sorted(kinds.items())


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in sorted(value.items()))
    return str(value)


def write_table(table: Table, folder: Path) -> list[Path]:
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
