"""Runs an ablation and writes its table; finished cells are skipped.

python -m sweeps.run lambda_hard              # Table S3 on the tiny profile
python -m sweeps.run lambda_hard --dry-run    # its cells, their state and cost
python -m sweeps.run lambda_hard --set train.learning_rate=2e-4 --name lr2e-4  # a variant of it
python -m sweeps.run my_experiment.py         # the tables of a file of your own: docs/extend.md
python -m sweeps.run --grid train.learning_rate=1e-4,3e-4,1e-3  # a table without a file
python -m sweeps.run lambda_hard --until-decided  # seeds in rounds, as many as its contrasts need
python -m sweeps.run guidance                 # score against guidance, and what contrast adds
python -m sweeps.run search                   # App. C's greedy search, and TPE, on validation
python -m sweeps.run list                     # what was run: settings, state, where its table is
python -m sweeps.run status                   # every sweep, in a line
python -m sweeps.run all                      # every sweep that is not done, then the report
python -m sweeps.run gallery                  # Figures 1, 5 and S2: clips, by a fixed rule
python -m sweeps.run gallery lr2e-4           # clips of every row of an experiment, on its page
python -m sweeps.run settings loss            # a section's settings, or all: name, type, meaning
python -m sweeps.run report                   # renders tables, claims.md and index.html again
python -m sweeps.run report lr2e-4            # one experiment's table
python -m sweeps.run export FILE              # all results as one archive; import takes it
python -m sweeps.run fsck                     # checks every result and cached array
python -m sweeps.run all --storage postgresql://me@host/sweeps --launcher slurm  # docs/queue.md
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from direct.common.errors import UserError, command
from direct.common.files import check_folder
from direct.config import Config
from direct.explain import explained

from . import own_tables
from .cell import read_result
from .checks import check
from .experiments import (
    Experiment,
    automatic_name,
    check_looks,
    check_name_is_free,
    named,
    remember,
)
from .folders import FILES, files, no_file, show_list, show_status
from .options import base_of, columns_of, looks_of, options_of, planned_cells, rows_of, sweep_of
from .planning import changes, every_of, experiments_of, known, shipped_of
from .queue.estimate import Estimator
from .queue.status import listing, summary, told
from .queue.sweep import Sweep
from .report import arms, gallery, gallery_files
from .reports import page, report, table_of, write, write_built
from .results import folder
from .schema import union
from .stages import REAL, Stages
from .work import refuse, settle_old, work

if TYPE_CHECKING:
    from .table import Table


def main(arguments: Sequence[str] | None = None, stages: Stages = REAL) -> int:
    options = options_of(arguments, __doc__)
    # Before the configuration: a file may be what gives a setting or a profile its meaning.
    own = own_tables.read(options.sweep) if own_tables.is_file(options.sweep) else None
    base = base_of(options)
    if options.sweep in FILES:
        return files(options, base)
    if options.sweep == "settings":
        print(explained(base, options.file))
        return 0
    if options.sweep == "report":
        return report(base, options, stages)
    if options.sweep == "gallery" and options.file is not None:
        return _arms(options, base, stages)
    no_file(options)
    if options.sweep == "status":
        return show_status(options, base)
    if options.sweep == "list":
        return show_list(options, base)
    if options.sweep == "search":
        return _search(options, base, stages)
    if options.sweep == "gallery":
        return _gallery(options, base, stages)
    if options.sweep == "all":
        return _all(options, base, stages)
    if options.until_decided:
        return _until_decided(options, base, own, stages)
    return _run(experiments_of(options, base, own), options, stages)[0]


def _run(
    asked: list[Experiment], options: argparse.Namespace, stages: Stages
) -> tuple[int, list[Table]]:
    """The experiments of one command, as one queue; then their tables.

    The command's status, and the tables: none while cells are left to others.
    """
    sweep = _begun(asked, asked[0].name, options, stages)
    if sweep is None:
        return 0, []
    if options.launcher == "slurm":
        return _launch(sweep, asked[0].name, options), []
    failed = _worked(sweep)
    left = _elsewhere(sweep, failed)
    tables = [] if left else [write(experiment, options, stages) for experiment in asked]
    return told(failed, sweep.cells), tables


def _until_decided(
    options: argparse.Namespace, base: Config, own: own_tables.File | None, stages: Stages
) -> int:
    """Rounds of seeds, until every hypothesis of each table is decided or equivalent.

    Which round it is follows from the noted looks and the results: a rerun looks again at what it
    has looked at, at the same levels, and goes on behind that.
    """
    from .tables import open_hypotheses

    looks = looks_of(options)

    def planned(seeds: int) -> list[Experiment]:
        text = ",".join(map(str, range(seeds)))
        given = argparse.Namespace(**vars(options) | {"seeds": text})
        found = experiments_of(given, base, own)
        return [replace(x, table=replace(x.table, rounds=looks)) for x in found]

    most = {cell.id for experiment in planned(looks[-1]) for cell in experiment.cells}
    for number, seeds in enumerate(looks, 1):
        asked = planned(seeds)
        status, tables = _run(asked, options, stages)
        if status or not tables:  # of a dry run, or cells are still running elsewhere: run again
            return status
        left = sum(len(open_hypotheses(table)) for table in tables)
        total = sum(len(table.family) for table in tables)
        print(f"look {number} of {len(looks)}, {seeds} seeds: {total - left} of {total} decided")
        if not left:
            break
    run = {cell.id for experiment in asked for cell in experiment.cells}
    bound = f"at most {len(most)} with {looks[-1]} seeds"
    print(f"{len(run)} cells of {bound}: {len(most) - len(run)} were not needed")
    return 0


def _all(options: argparse.Namespace, base: Config, stages: Stages) -> int:
    """Every sweep; then every table, the clips, the claims and the page."""
    asked, faults = every_of(options, base)
    for fault in faults:
        print(f"left out: {fault}")
    if not asked:
        raise UserError("no sweep can be planned with these settings; change what --set gives")
    sweep = _begun(asked, "all", options, stages)
    if sweep is None:
        return 0
    if options.launcher == "slurm":
        return _launch(sweep, "all", options)
    failed = _worked(sweep)
    if _elsewhere(sweep, failed):
        return told(failed, sweep.cells)
    try:
        _clips(asked[0].target(Path(options.out)), options, base, stages)
    except UserError as error:  # a model of Table 1 diverged: the report goes without clips
        print(error)
    names = {experiment.table.name for experiment in asked}
    page(every_of(options, base, extra=True)[0], base, options, stages, names)
    return told(failed, sweep.cells)


def _begun(
    asked: list[Experiment], name: str, options: argparse.Namespace, stages: Stages
) -> Sweep | None:
    """The experiments, checked and noted, as one queue: a cell that several show runs once.

    `None` after a dry run, which shows them and writes nothing.
    """
    out = Path(options.out)
    columns_of(options)  # refused now, and not after the work
    for experiment in asked:
        check(experiment)
        check_folder(experiment.target(out), "--out")
        root = folder(experiment.base.profile, out)
        check_name_is_free(experiment, root)
        check_looks(experiment, root)

    def sweep(experiment: Experiment) -> Sweep:
        cells = list(experiment.cells)
        return sweep_of(experiment.table, cells, experiment.base, options, stages)

    together = sweep(asked[0])
    if len(asked) > 1:
        once = {cell.id: cell for experiment in asked for cell in experiment.cells}
        table = replace(union([experiment.table for experiment in asked]), name=name)
        together = replace(together, table=table, cells=list(once.values()))
    if options.dry_run:
        refuse(together)
        print("\n\n".join(listing(sweep(experiment)) for experiment in asked))
        if len(asked) > 1:
            estimator = Estimator(together.root, {x.id: x.config for x in together.cells})
            told_once = summary(together.cells, estimator, together.workers)
            print("\nin all, cells that tables share counted once: " + told_once)
        return None
    if not options.join:  # who planned it has noted it
        for experiment in asked:
            remember(experiment, together.root)
    return together


def _worked(sweep: Sweep) -> dict[str, str]:
    """Works on the cells, those that time themselves alone. `{cell id: reason}` of failures."""
    alone = [cell for cell in sweep.cells if cell.config.measure.kind == "cost"]
    together = [cell for cell in sweep.cells if cell.config.measure.kind != "cost"]
    failed: dict[str, str] = {}
    for cells in (together, alone):
        if cells:
            failed |= work(replace(sweep, cells=cells))
    return failed


def _launch(sweep: Sweep, name: str, options: argparse.Namespace) -> int:
    from .queue import slurm

    refuse(sweep)
    settle_old(sweep)
    return slurm.slurm(sweep, options, name)


def _search(options: argparse.Namespace, base: Config, stages: Stages) -> int:
    from .report import search_report

    target, changed = Path(options.out) / "reports" / base.profile, changes(base, options)
    if changed or options.name:
        target /= options.name or automatic_name(["search", *changed])
    check_folder(target, "--out")
    return search_report.main(base, options, stages, target)


def _gallery(options: argparse.Namespace, base: Config, stages: Stages) -> int:
    shown = shipped_of(gallery.ABLATION, "gallery", base, options)
    check(shown)
    check_folder(shown.target(Path(options.out)), "--out")
    sweep = sweep_of(shown.table, list(shown.cells), base, options, stages)
    if options.dry_run:
        refuse(sweep)
        print(listing(sweep))
        return 0
    if options.launcher == "slurm":
        return _launch(sweep, shown.name, options)
    failed = work(sweep)
    if not _elsewhere(sweep, failed):
        _clips(shown.target(Path(options.out)), options, base, stages)
    return told(failed, sweep.cells)


def _arms(options: argparse.Namespace, base: Config, stages: Stages) -> int:
    """Clips of every row of an experiment that was run, on its table's page."""
    out = Path(options.out)
    root, cache = folder(base.profile, out), out / "cache" / base.profile
    for experiment in named(str(options.file), known(options, base, root)[0]):
        table = table_of(experiment, options, stages)
        print(arms.write(table, arms.gather(table, root, cache), experiment.target(out)))
        write_built(table, experiment, options)
    return 0


def _clips(target: Path, options: argparse.Namespace, base: Config, stages: Stages) -> None:
    planned = planned_cells(gallery.ABLATION, base, options)
    sweep = sweep_of(rows_of(gallery.ABLATION, options), planned, base, options, stages)
    found = gallery.gather(sweep.cells, sweep.root, sweep.cache, gallery_files.read(target))
    for path in gallery_files.write(found, target):
        print(path)


def _elsewhere(sweep: Sweep, failed: dict[str, str]) -> int:
    """How many cells are still worked on by others: a sweep that was joined may end before them."""
    left = [cell for cell in sweep.cells if cell.id not in failed]
    held = sum(not read_result(sweep.root / cell.id) for cell in left)
    if held:
        print(f"{held} of {len(sweep.cells)} cells are still running in other workers")
    return held


if __name__ == "__main__":
    command(main)
