"""Which tables are written, and where: of a run, and by `report` of all that was run."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from direct.common.errors import UserError
from direct.config import Config
from direct.plugins import need

from .ablations import ABLATIONS
from .experiments import Experiment, named
from .options import columns_of, planned_cells
from .planning import changes, known
from .queue.status import failures
from .results import folder
from .schema import METRICS
from .stages import Stages

if TYPE_CHECKING:
    from .table import Table


def report(base: Config, options: argparse.Namespace, stages: Stages) -> int:
    """Writes the tables of `report NAME`; without a name, of every experiment that is complete."""
    if changed := changes(base, options):
        raise UserError(
            f"report takes no --set {changed[0]}: what was set is noted with the experiment; name "
            "it, as: report NAME (list shows the names)"
        )
    out = Path(options.out)
    found, faults = known(options, base, folder(base.profile, out))
    if options.file is not None:
        for experiment in named(options.file, found):
            write(experiment, options, stages)
        return 0
    for fault in faults:
        print(fault)
    shipped = [experiment for experiment in found if not experiment.own]
    own = [experiment for experiment in found if experiment.own and _complete(experiment, out)]
    if not page(shipped, base, options, stages) and not own:
        print(
            f"no sweep below {folder(base.profile, out)} is complete; run one first, as: "
            "lambda_hard"
        )
    for experiment in own:
        try:
            write(experiment, options, stages)
        except UserError as error:  # one that cannot be shown hides no other
            print(f"{experiment.name}: {error}")
    return 0


def _complete(experiment: Experiment, out: Path) -> bool:
    """Whether nothing of it is left to do."""
    from .cell import read_result

    root = folder(experiment.base.profile, out)
    failed = failures(list(experiment.cells), root)
    return all(x.id in failed or read_result(root / x.id) for x in experiment.cells)


def write(experiment: Experiment, options: argparse.Namespace, stages: Stages) -> Table:
    """The files of one experiment's table, which is returned."""
    table = table_of(experiment, options, stages)
    write_built(table, experiment, options)
    return table


def write_built(table: Table, experiment: Experiment, options: argparse.Namespace) -> None:
    """The files of a table that is built already."""
    from .report.write import write_table

    written = write_table(table, experiment.target(Path(options.out)), columns_of(options))
    for path in written:
        print(path)
    if not written:
        print(f"{experiment.name}: no table is written, since no row has a score yet")


def table_of(experiment: Experiment, options: argparse.Namespace, stages: Stages) -> Table:
    """The experiment's table, with what the control says of it."""
    from .control import control
    from .results import read_all
    from .tables import build

    base, positive = experiment.base, ABLATIONS["control"]
    METRICS.noted = experiment.metrics
    if any(metric not in METRICS for metric in experiment.table.metrics):  # of an older note
        need(experiment.cells[0].config)
    results = read_all(folder(base.profile, Path(options.out)))
    planned = planned_cells(positive, base, options)
    warning = control(build(positive, planned, results, stages)).warning
    table = build(experiment.table, list(experiment.cells), results, stages)
    return replace(table, warning=warning)


def page(
    asked: Sequence[Experiment],
    base: Config,
    options: argparse.Namespace,
    stages: Stages,
    also: Collection[str] = (),
) -> bool:
    """The tables that are complete or in `also`; the claims; the page of all, in one folder.

    Tables share cells, and shared cells alone make no table. A table that was written before and is
    not complete here stays as it is: it came with this repository, or its results are elsewhere.
    False where there is none to show.
    """
    from .report import search_report
    from .report.write import report as write_report
    from .results import read_all
    from .tables import build

    out = Path(options.out)
    results, target = read_all(folder(base.profile, out)), asked[0].target(out)
    shown = [x.table.name for x in asked if x.cells and (x.table.name in also or _complete(x, out))]
    users = Counter(cell.id for x in asked for cell in x.cells)
    begun = {x.table.name for x in asked for c in x.cells if c.id in results and users[c.id] == 1}
    built = {
        x.table.name: build(x.table, list(x.cells), results, stages)
        for x in asked
        if x.table.name in {*shown, *begun}
    }
    kept = [
        x.table.name
        for x in asked
        if x.cells and x.table.name not in shown and (target / f"{x.table.file}.md").exists()
    ]
    if not shown:
        return False
    whole = bool(also) or not kept
    more = [] if asked[0].own else search_report.again(base, options, out)
    for path in write_report(built, shown, target, more, whole, columns_of(options)):
        print(path)
    if kept:
        rest = "" if whole else ", and so do claims.md and index.html, which are about all tables"
        print(
            f"incomplete here: {', '.join(kept)}; their files in {target} are unchanged{rest} "
            f"(--out writes a report of its own)"
        )
    return True
