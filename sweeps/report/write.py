"""Everything below reports/<profile>/, from results alone: tables, claims.md, index.html."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from direct.common.files import write_bytes, write_text

from ..claims import Verdicts, verdicts
from ..control import Control, control
from ..table import Table
from . import claims, gallery_files, latex
from .gallery import Gallery
from .page import Section, section_of
from .sheet import Draw
from .template import fill


def report(
    tables: dict[str, Table],
    shown: list[str],
    folder: Path,
    more: Sequence[Section] = (),
    whole: bool = True,
    columns: Sequence[str] = (),
) -> list[Path]:
    """Writes the tables named in `shown` and, if `whole`, the claims about all and the page of all.

    `more`: what is not a table of scores, in its place behind them. `columns`: of the LaTeX.
    """
    shown = [name for name in shown if has_numbers(tables[name])]
    controls = control(tables.get("control"))
    tables = {name: replace(x, warning=controls.warning) for name, x in tables.items()}
    paths = []
    for name in shown:
        paths += write_table(tables[name], folder, columns)
    if not whole:
        return paths
    found = verdicts(tables)
    write_text(folder / "main.tex", latex.main_of(folder))
    judge = next(iter(tables.values())).judge
    shown_tables = [tables[name] for name in shown]
    sections = [
        section_of(table, (folder / f"{table.ablation.file}.svg").read_text())
        for table in shown_tables
    ]
    clips = gallery_files.read(folder)
    known = {cell.id for table in tables.values() for line in table.lines for cell in line.cells}
    if clips and not known.issuperset(clips.cells):
        clips = None  # of an earlier configuration
    texts = {
        "claims.md": claims.markdown(found, judge, controls),
        "index.html": index(shown_tables, [*sections, *more], found, judge, controls, clips),
    }
    for name, text in texts.items():
        paths.append(folder / name)
        write_text(paths[-1], text)
    return paths


def index(
    tables: Sequence[Table],
    sections: Sequence[Section],
    found: Verdicts,
    judge: str,
    controls: Control,
    clips: Gallery | None = None,
) -> str:
    """One page: controls, a summary of each table over its numbers, claims, clips. No request."""
    links = [("tables", "Tables"), ("claims", "Claims")] + [("clips", "Clips")] * bool(clips)
    links += [("provenance", "Provenance")]
    links += [(x.name, x.title.split(":")[0]) for x in sections]
    usual = [x for x in sections if not x.extra] or list(sections)
    return fill(
        "index.html",
        title=f"DiReCT, run again: {judge}",
        links=links,
        clips=gallery_files.shown(clips) if clips else None,
        scripted=True,
        controls=[text for text in (controls.positive, controls.negative) if text],
        claims=claims.parts(found, judge),
        kinds=claims.KINDS,
        shown=claims.SHOWN,
        sections=usual,
        extra=[x for x in sections if x not in usual],
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


def write_table(table: Table, folder: Path, columns: Sequence[str] = ()) -> list[Path]:
    """Writes `folder/table_x.{md,tex,csv,html,svg,json}`; `columns` of the LaTeX.

    And its plot for a paper, `table_x_{page,column}.{pdf,svg}`. Nothing, and no path, where no row
    has a number: a table of dashes says nothing.
    """
    from . import arms, sheet
    from .page import html
    from .text import csv, markdown, provenance

    if not has_numbers(table):
        return []
    own = [metric for metric in columns if metric in table.ablation.metrics]
    draw = _plot(table, own)
    svg = sheet.svg(table, draw)
    written = {
        ".md": markdown(table),
        ".tex": latex.latex(table, own),
        ".csv": csv(table),
        ".svg": svg,
        ".html": html(table, svg, arms.read(table, folder)),
        ".json": provenance(table),
    }
    files = {end: text.encode() for end, text in written.items()} | sheet.printed(table, draw)
    paths = []
    for end, data in files.items():
        paths.append(folder / f"{table.ablation.file}{end}")
        write_bytes(paths[-1], data)
    return paths


def has_numbers(table: Table) -> bool:
    return any(line.values for line in table.lines)


def _plot(table: Table, columns: Sequence[str]) -> Draw:
    """What draws the table; a heatmap shows one metric, the first that was asked for."""
    from . import gain_plot, guidance_plots, heatmap, measured_plots, plots

    draws: dict[str, Draw] = {
        "rows": plots.panels,
        "heatmap": partial(heatmap.draw, metric=next(iter(columns), "")),
        "measured": measured_plots.draw,
        "guidance": guidance_plots.lines,
        "map": guidance_plots.heatmap,
        "gain": gain_plot.draw,
    }
    return draws[table.ablation.plot]
