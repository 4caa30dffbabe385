"""Which experiments a command is about: those it asks for, and those that were run before.

A table of this package is reported in reports/<profile>/. Where `--set` changes a cell of it, it is
a variant with a folder of its own, by --name or by a name that is made from what was set: what was
reported before stays. Seeds and prompts are a table's size and make no variant.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from direct.common.errors import UserError, nearest
from direct.config import Config
from direct.profiles import profile
from direct.settings import settings

from . import grid, own_tables
from .ablations import ABLATIONS
from .experiments import Experiment, automatic_name, checked_name, recorded, words
from .options import HOW, SIZE, base_of, names, names_set, planned_cells, rows_of, sized
from .schema import Ablation, Cell


def every_of(
    options: argparse.Namespace, base: Config, extra: bool = False
) -> tuple[list[Experiment], list[str]]:
    """All tables of this package, with --extra also ours; and why some cannot be planned."""
    found, faults = [], []
    for name, table in ABLATIONS.items():
        if table.extra and not (options.extra or extra):
            continue
        try:
            found.append(shipped_of(table, "all", base, options))
        except UserError as error:
            faults.append(f"{name} cannot be planned: {error}")
    if any(x.own for x in found):  # one folder for all of them
        own = next(x for x in found if x.own)
        changed = own.table.changed
        found = [
            replace(x, name=own.name, own=True, table=replace(x.table, changed=changed))
            for x in found
        ]
    return found, faults


def known(
    options: argparse.Namespace, base: Config, root: Path
) -> tuple[list[Experiment], list[str]]:
    """Every table of this package and every other experiment below `root`; and what is unreadable.

    A table is as it was last run here, unless the options give a size; or as it would be run.
    """
    found, faults = recorded(root)
    asked = options.set or options.paper_rows or options.seeds is not None
    before = {} if asked or options.prompts else {x.name: x for x in found if not x.own}
    shipped = []
    for name, table in ABLATIONS.items():
        try:
            shipped.append(before.get(name) or _as_it_is(table, base, options))
        except UserError as error:
            faults.append(f"{name} cannot be planned: {error}")
    return [*shipped, *(x for x in found if x.own)], faults


def _as_it_is(table: Ablation, base: Config, options: argparse.Namespace) -> Experiment:
    planned = tuple(planned_cells(table, base, options))
    return Experiment(
        table.name, rows_of(table, options), planned, sized(table, base, options), False
    )


def experiments_of(
    options: argparse.Namespace, base: Config, own: own_tables.File | None = None
) -> list[Experiment]:
    """What the command line asks for: a sweep, a file's tables, or a grid; checked and planned.

    own: the file, where it has been read before the configuration.
    """
    found = _experiments(options, base, own)
    for experiment in found:
        _check_set(experiment, options)
    return found


def _check_set(experiment: Experiment, options: argparse.Namespace) -> None:
    """Refuses a setting that no cell would have, since every row has a value of its own."""
    table, given = experiment.table, settings(experiment.base)
    rows = [
        {**table.common, **row.values} for row in table.rows if not (row.best_of or row.reading)
    ]
    for name in names_set(options):
        own = [values[name] for values in rows if name in values]
        computed = any(map(callable, own))
        if rows and len(own) == len(rows) and not computed and given[name] not in own:
            raise UserError(
                f"--set {name}={given[name]} changes nothing: every row of {experiment.name} has "
                f"another value; leave it out, or give your own values by --grid {name}=A,B"
            )


def _experiments(
    options: argparse.Namespace, base: Config, own: own_tables.File | None
) -> list[Experiment]:
    if options.grid:
        table = grid.table_of(options.grid, base)
        stem = options.name or automatic_name(grid.name_of(table))
        return [own_of(table, stem, "--grid", base, options)]
    if own_tables.is_file(options.sweep):
        stem, tables = own or own_tables.read(options.sweep)
        file = options.sweep.partition(":")[0]
        if options.name is None:
            checked_name(stem, f"{file}: give --name, since the file's name", names())
        return [own_of(table, stem, file, base, options) for table in tables]
    if options.sweep not in ABLATIONS:
        file = f"{options.sweep}.py"
        hint = f"did you mean {file}?" if Path(file).is_file() else nearest(options.sweep, names())
        raise UserError(f"{options.sweep} is not a sweep; {hint}")
    return [shipped_of(ABLATIONS[options.sweep], options.sweep, base, options)]


def own_of(
    table: Ablation, stem: str, where: str, base: Config, options: argparse.Namespace
) -> Experiment:
    """A table of the user's. `stem`: its name, where nothing is changed and none is given."""
    table = own_tables.checked(table, sized(table, base, options), where)
    planned, changed = planned_cells(table, base, options), changes(base, options)
    name = options.name or automatic_name([stem, *changed])
    table = replace(rows_of(table, options), changed=changed)
    return Experiment(name, table, tuple(planned), sized(table, base, options))


def shipped_of(
    table: Ablation, sweep: str, base: Config, options: argparse.Namespace
) -> Experiment:
    """A table of this package, or a variant: with --name, or where --set changes a cell of it.

    `sweep`: what was asked for, which begins an automatic name.
    """
    planned, changed = planned_cells(table, base, options), changes(base, options)
    own = bool(options.name) or bool(changed and _differs(table, planned, options))
    name = options.name or automatic_name([sweep, *changed]) if own else table.name
    table = replace(rows_of(table, options), changed=changed if own else ())
    return Experiment(name, table, tuple(planned), sized(table, base, options), own)


def changes(base: Config, options: argparse.Namespace) -> tuple[str, ...]:
    """The settings that --set changed from the profile's, in words, without sizes and `HOW`."""
    default, now = settings(profile(options.profile)), settings(base)
    return tuple(
        words(name, now[name])
        for name in sorted(names_set(options))
        if name not in (SIZE, *HOW) and now[name] != default[name]
    )


def _differs(table: Ablation, planned: list[Cell], options: argparse.Namespace) -> bool:
    """Whether these are other cells than without --set: a row's own settings come first, and some
    settings change no result."""
    kept = [text for text in options.set if text.partition("=")[0].strip() == SIZE]
    plain = argparse.Namespace(**vars(options) | {"set": kept})
    try:
        before = planned_cells(table, base_of(plain), plain)
    except UserError:  # it can be planned only with what is set
        return True
    return {cell.id for cell in planned} != {cell.id for cell in before}
