"""Runs an ablation of the paper and writes its table; finished cells are skipped.

python -m sweeps.run lambda_hard              # Table S3 on the tiny profile
python -m sweeps.run lambda_hard --dry-run    # its cells, their state and cost
python -m sweeps.run guidance                 # score against guidance, and what contrast adds
python -m sweeps.run search                   # App. C's greedy search, and TPE, on validation
python -m sweeps.run status                   # every sweep
python -m sweeps.run all                      # every sweep that is not done, then the report
python -m sweeps.run gallery                  # Figures 1, 5 and S2: clips, by a fixed rule
python -m sweeps.run settings loss            # a section's settings, or all: name, type, meaning
python -m sweeps.run report                   # renders tables, claims.md and index.html again
python -m sweeps.run export FILE              # all results as one archive; import takes it
python -m sweeps.run fsck                     # checks every result and cached array
python -m sweeps.run all --storage postgresql://me@host/sweeps --launcher slurm  # docs/queue.md
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from direct.common.errors import UserError, command, nearest
from direct.config import Config
from direct.explain import explained

from .ablations import ABLATIONS
from .cell import read_result
from .options import base_of, names, options_of, planned_cells, rows_of, sweep_of
from .queue.estimate import Estimator
from .queue.status import failures, listing, state_line, summary, told
from .queue.sweep import Sweep
from .report import gallery
from .results import folder
from .schema import Ablation, Cell, union
from .stages import REAL, Stages
from .work import settle_old, work


def main(arguments: Sequence[str] | None = None, stages: Stages = REAL) -> int:
    options = options_of(arguments, __doc__)
    base = base_of(options)
    out = Path(options.out)
    root = folder(base.profile, out)
    if options.sweep in ("export", "import", "fsck"):
        return _files(options, base, root, out)
    if options.sweep == "settings":
        print(explained(base, options.file))
        return 0
    _no_file(options)
    if options.sweep == "status":
        for table in ABLATIONS.values():
            print(state_line(table, planned_cells(table, base, options), root))
        return 0
    if options.sweep == "report":
        return _report_all(base, options, stages)
    if options.sweep == "all":
        return _all(base, options, stages)
    if options.sweep == "search":
        from .report import search_report

        return search_report.main(base, options, stages)
    if options.sweep not in (*ABLATIONS, "gallery"):
        raise UserError(f"{options.sweep} is not a sweep; {nearest(options.sweep, names())}")
    table = rows_of(ABLATIONS.get(options.sweep, gallery.ABLATION), options)
    sweep = sweep_of(table, planned_cells(table, base, options), base, options, stages)
    if options.dry_run:
        print(listing(sweep))
        return 0
    if options.launcher:
        return _launch(sweep, options)
    failed = work(sweep)
    if not _elsewhere(sweep, failed):
        _report(sweep, out / "reports" / base.profile, base, options)
    return told(failed)


def _launch(sweep: Sweep, options: argparse.Namespace) -> int:
    from .queue import slurm

    settle_old(sweep)
    return slurm.slurm(sweep, options)


def _files(options: argparse.Namespace, base: Config, root: Path, out: Path) -> int:
    """export, import and fsck."""
    from . import archive
    from .queue import study

    if options.sweep == "fsck":
        _no_file(options)
        checked, wrong = archive.fsck(root, out / "cache" / base.profile)
        print("\n".join([*wrong, f"{checked} files checked, {len(wrong)} wrong"]))
        return 1 if wrong else 0
    if options.file is None:
        raise UserError(f"{options.sweep} needs a file; write: {options.sweep} results.tar.gz")
    with study.planner(root):
        if options.sweep == "export":
            print(f"{archive.export(root, base.profile, Path(options.file))} results exported")
        else:
            new, known = archive.take(root, base.profile, Path(options.file))
            print(f"{new} results imported, {known} were here already")
    return 0


def _no_file(options: argparse.Namespace) -> None:
    if options.file is not None:
        raise UserError(f"{options.sweep} takes no file, and got {options.file}")


def _all(base: Config, options: argparse.Namespace, stages: Stages) -> int:
    """Every sweep, as one queue; then every table. A cell that several tables show runs once."""

    def sweep(table: Ablation, cells: list[Cell]) -> Sweep:
        return sweep_of(table, cells, base, options, stages)

    tables = [
        rows_of(table, options) for table in ABLATIONS.values() if options.extra or not table.extra
    ]
    planned = {table.name: planned_cells(table, base, options) for table in tables}
    once = list({cell.id: cell for cells in planned.values() for cell in cells}.values())
    if options.dry_run:
        print("\n\n".join(listing(sweep(table, planned[table.name])) for table in tables))
        every = sweep(union(tables), once)
        estimator = Estimator(every.root, {cell.id: cell.config for cell in once})
        told_once = summary(once, estimator, every.workers)
        print("\nin all, cells that tables share counted once: " + told_once)
        return 0
    everything = union(tables)
    if options.launcher:
        return _launch(sweep(everything, once), options)
    together = [cell for cell in once if cell.config.measure.kind != "cost"]
    alone = [cell for cell in once if cell.config.measure.kind == "cost"]  # timed by the clock
    failed = work(sweep(everything, together))
    failed |= work(sweep(everything, alone))
    if _elsewhere(sweep(everything, once), failed):
        return told(failed)
    out, shown = Path(options.out), planned_cells(gallery.ABLATION, base, options)
    try:
        _report(sweep(gallery.ABLATION, shown), out / "reports" / base.profile, base, options)
    except UserError as error:  # a model of Table 1 diverged: the report goes without clips
        print(error)
    _report_all(base, options, stages, set(planned))
    return told(failed)


def _report_all(
    base: Config, options: argparse.Namespace, stages: Stages, also: Collection[str] = ()
) -> int:
    """The tables that are complete or in `also`; the claims; the page of all.

    Tables share cells, and shared cells alone make no table. A table that was written before and is
    not complete here stays as it is: it came with this repository, or its results are elsewhere.
    """
    from .report import search_report
    from .report.write import report
    from .results import read_all
    from .tables import build

    out = Path(options.out)
    root = folder(base.profile, out)
    results, target = read_all(root), out / "reports" / base.profile
    planned = {name: planned_cells(table, base, options) for name, table in ABLATIONS.items()}
    built = {
        name: build(rows_of(ABLATIONS[name], options), cells, results, stages)
        for name, cells in planned.items()
    }
    shown = [
        name
        for name, cells in planned.items()
        if name in also or {cell.id for cell in cells} <= {*results, *failures(cells, root)}
    ]
    kept = [
        name
        for name, table in built.items()
        if name not in shown and (target / f"{table.ablation.file}.md").exists()
    ]
    if not shown:
        print(f"no sweep below {root} is complete; run one first, as: lambda_hard")
        return 0
    whole = bool(also) or not kept
    for path in report(built, shown, target, search_report.again(base, options, out), whole):
        print(path)
    if kept:
        rest = "" if whole else ", and so do claims.md and index.html, which are about all tables"
        print(
            f"incomplete here: {', '.join(kept)}; their files in {target} are unchanged{rest} "
            f"(--out writes a report of its own)"
        )
    return 0


def _elsewhere(sweep: Sweep, failed: dict[str, str]) -> int:
    """How many cells are still worked on by others: a sweep that was joined may end before them."""
    left = [cell for cell in sweep.cells if cell.id not in failed]
    held = sum(not read_result(sweep.root / cell.id) for cell in left)
    if held:
        print(f"{held} of {len(sweep.cells)} cells are still running in other workers")
    return held


def _report(sweep: Sweep, target: Path, base: Config, options: argparse.Namespace) -> None:
    from .control import control
    from .report.write import write_table
    from .results import read_all
    from .tables import build

    if sweep.table.name == gallery.ABLATION.name:
        known = gallery.read(target)
        found = gallery.gather(sweep.cells, sweep.root, sweep.cache, known)
        paths = gallery.write(found, target)
    else:
        results, positive = read_all(sweep.root), ABLATIONS["control"]
        planned = planned_cells(positive, base, options)
        warning = control(build(positive, planned, results, sweep.stages)).warning
        table = build(sweep.table, sweep.cells, results, sweep.stages)
        paths = write_table(replace(table, warning=warning), target)
    for path in paths:
        print(path)


if __name__ == "__main__":
    command(main)
