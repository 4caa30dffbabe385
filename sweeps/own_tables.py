"""Tables of one's own: read from a Python file anywhere, filled in and checked.

    python -m sweeps.run my_experiment.py         # every Ablation that the file declares
    python -m sweeps.run my_experiment.py:first   # one of them

What such a table leaves out is filled in, and all that is wrong in it is one sentence, before any
work. Values are given the types of their settings, so that a row which is also one of the paper's
is the same cell.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from direct import plugins
from direct.common.errors import UserError, nearest
from direct.config import Config
from direct.plugins.guard import line_of
from direct.profiles import PROFILES
from direct.settings import override, settings

from .ablations import ABLATIONS
from .experiments import checked_name
from .schema import EVERY_ROW, MEASURED, METRICS, USUAL, Ablation, Row, given, plane

File = tuple[str, list[Ablation]]  # its name without .py, and its tables
CLASSES = {"Ablation": Ablation, "Row": Row}
PLOTS = ("rows", "heatmap", "measured")  # the other kinds draw the rows of one table of ours
FIRST = ("SA", "PC")  # what is tested unless contrasts are declared


# A file -------------------------------------------------------------------------------------------


def is_file(text: str) -> bool:
    """Whether a sweep's name on the command line is a file of one's own."""
    return text.partition(":")[0].endswith(".py")


def read(text: str) -> File:
    """The file that `text` names, and the tables it declares: all, or FILE:NAME's. Not checked."""
    name, _, wanted = text.partition(":")
    path = Path(name)
    if not path.is_file():
        others = sorted(other.name for other in path.parent.glob("*.py"))
        hint = f"; {nearest(path.name, others)}" if others else "; check the path"
        raise UserError(f"{path} does not exist{hint}")
    shipped = {id(table) for table in ABLATIONS.values()}  # imported, as what rows are taken from
    tables = list({id(x): x for x in _declared(_executed(path)) if id(x) not in shipped}.values())
    if not tables:
        raise UserError(
            f"{path} declares no table; write table = Ablation(name=..., rows=(...)), with "
            "Ablation and Row from sweeps (docs/extend.md)"
        )
    names = [table.name for table in tables]
    for attribute, values in (("name", names), ("file", [table.file for table in tables])):
        if twice := repeated(values):
            raise UserError(f"{path}: two tables have the {attribute} {twice!r}; rename one")
    if wanted and wanted not in names:
        raise UserError(f"{path} declares no table {wanted}; {nearest(wanted, names)}")
    return path.stem, [table for table in tables if wanted in ("", table.name)]


def _executed(path: Path) -> ModuleType:
    """The file as a module, its plug-ins registered; an error in it names its line."""
    try:
        return plugins.load(path)
    except UserError as refused:
        error = refused.__cause__
        if error is None:  # the file's own, or about the file
            raise UserError(f"{path}: {refused}") from None
        line = line_of(error, path.resolve())
        where = f", line {line}" if line else ""
        reason = error.msg if isinstance(error, SyntaxError) else _reason(error)
        raise UserError(f"{path}{where}: {reason}") from None


def _reason(error: BaseException) -> str:
    """An error of the file in words; of a field that is unknown or missing, with the names."""
    text = str(error)
    if found := re.match(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", text):
        kind, name = found.groups()
        if kind in CLASSES:
            known = [field.name for field in fields(CLASSES[kind])]
            return f"{kind} has no field {name!r}; {nearest(name, known, 0.6)}"
    if found := re.match(r"(\w+)\.__init__\(\) missing .* arguments?: (.*)", text):
        return f"{found[1]} needs {found[2]}"
    return f"{type(error).__name__}: {text}"


def _declared(module: ModuleType) -> Iterable[Ablation]:
    """The tables that the file's names stand for, also those in a list, tuple or dictionary."""
    for value in list(vars(module).values()):
        values = value.values() if isinstance(value, dict) else value
        several = values if isinstance(value, (list, tuple, dict)) else (value,)
        yield from (x for x in several if isinstance(x, Ablation))


# Checks -------------------------------------------------------------------------------------------


def checked(table: Ablation, base: Config, where: str) -> Ablation:
    """The table with all that it leaves out, and its values typed; else a `UserError`.

    where: the file or option that declares it. base: the configuration under every row, which rows
    with functions are given.
    """
    if not isinstance(table.name, str):
        raise UserError(f'{where}: name={table.name!r} of a table is not a text; write name="own"')
    checked_name(table.name, f"{where}: the table's name", ABLATIONS)
    where = f"{where}, table {table.name}"
    rows, labels = _rows(table, where), [row.label for row in table.rows]
    baseline = table.baseline or labels[0]
    _known(baseline, labels, f"{where}: baseline", "row")
    if table.plot not in PLOTS:
        raise UserError(
            f"{where}: plot={table.plot!r} cannot be drawn; {nearest(table.plot, PLOTS)}"
        )
    filled = replace(
        table,
        rows=tuple(_typed_row(row, table.common, base, where) for row in rows),
        common={},  # it is in every row now
        title=table.title or table.place,
        header=table.header or table.axis or "Row",
        baseline=baseline,
        metrics=_metrics(table, base, where),
        seeds=_seeds(table.seeds, where),
        prompts=_prompts(table.prompts, where),
    )
    if filled.axis:
        _check_axis(filled, base, where)
    if filled.plot == "heatmap":
        _check_plane(filled.rows, where)
    return replace(filled, contrasts=_contrasts(filled, where))


def _metrics(table: Ablation, base: Config, where: str) -> tuple[str, ...]:
    """The columns: those of the table's judge, where they are left out."""
    if isinstance(table.metrics, str) or not table.metrics:
        raise UserError(f'{where}: metrics={table.metrics!r} is not a tuple; write ("SA", "PC")')
    values = {**table.common, **table.rows[0].values}
    judge = values.get("evaluate.judge", base.evaluate.judge)
    found = given(judge) if isinstance(judge, str) else []
    if table.metrics == USUAL:
        return tuple(metric for metric in USUAL if metric in found) or tuple(found)
    for metric in table.metrics:
        what = f"metric of the judge {judge}" if metric in METRICS else "metric"
        _known(metric, [*found, *MEASURED], f"{where}: metrics", what)
    return tuple(table.metrics)


def _known(name: Any, known: Collection[str], where: str, what: str) -> None:
    if name not in known:
        raise UserError(f"{where}: {name!r} is no {what}; {nearest(str(name), known)}")


def repeated(values: Sequence[Any]) -> Any:
    """The first value that stands there twice; `None` where none does."""
    return next((value for i, value in enumerate(values) if value in values[:i]), None)


def _rows(table: Ablation, where: str) -> tuple[Row, ...]:
    """The rows, each with a label of its own, and with labels that there are."""
    if isinstance(table.rows, Row) or not all(isinstance(row, Row) for row in table.rows):
        raise UserError(f"{where}: rows is not a tuple of rows; write (Row(...), Row(...))")
    labels = [row.label for row in table.rows]
    if not labels:
        raise UserError(f"{where} has no rows; write rows=(Row(label, settings), ...)")
    for label in labels:
        if not isinstance(label, str) or not label:
            raise UserError(f"{where}: a row's label is {label!r}; write a text")
    if twice := repeated(labels):
        raise UserError(f"{where}: two rows have the label {twice!r}; rename one")
    for row in table.rows:
        for name in (row.against, *row.best_of):
            if name:
                _known(name, labels, f"{where}, row {row.label!r}", "row")
        if row.profile:
            _known(row.profile, PROFILES, f"{where}, row {row.label!r}", "profile")
    return tuple(table.rows)


def _typed_row(row: Row, common: Mapping[str, Any], base: Config, where: str) -> Row:
    where = f"{where}, row {row.label!r}"
    for values in (common, row.values):
        if not isinstance(values, Mapping):
            raise UserError(
                f'{where}: {values!r} is not settings; write {{"loss.lambda_hard": 0.1}}'
            )
    return replace(row, values=_typed({**common, **row.values}, base, where))


def _typed(values: Mapping[str, Any], base: Config, where: str) -> dict[str, Any]:
    """The values as their settings' types; functions are given `base`."""
    texts = []
    for name, value in values.items():
        if name == "seed":
            raise UserError(f"{where}: seeds are not a row's; give the table seeds=(0, 1, 2)")
        if name == "profile":
            raise UserError(f"{where}: a profile is not a row's; run the table with --profile")
        if callable(value):
            try:
                value = value(base)
            except Exception as error:
                raise UserError(f"{where}, {name}: {type(error).__name__}: {error}") from None
        text = ",".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
        texts.append(f"{name}={text}")
    try:
        found = settings(override(base, *texts))
    except UserError as error:
        raise UserError(f"{where}: {str(error).removeprefix('--set ')}") from None
    return {name: found[name] for name in values}


def _seeds(seeds: Any, where: str) -> tuple[int, ...]:
    whole = isinstance(seeds, (tuple, list, range)) and all(type(seed) is int for seed in seeds)
    if not whole or not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise UserError(
            f"{where}: seeds={seeds!r} are not whole numbers, each once; write (0, 1, 2)"
        )
    return tuple(seeds)


def _prompts(prompts: Any, where: str) -> dict[str, int]:
    if not isinstance(prompts, Mapping):
        raise UserError(f'{where}: prompts={prompts!r} is not by profile; write {{"tiny": 64}}')
    for name, count in prompts.items():
        _known(name, PROFILES, f"{where}: prompts", "profile")
        if type(count) is not int or count < 1:
            raise UserError(f"{where}: prompts of {name}={count!r} is not a positive whole number")
    return dict(prompts)


def _check_axis(table: Ablation, base: Config, where: str) -> None:
    """A plot's axis is logarithmic: zero stands beside it, and below there is nothing."""
    axis = str(table.axis)
    _known(axis, settings(base), f"{where}: axis", "setting")
    for row in table.rows:
        value = row.values.get(axis, 0)
        if type(value) not in (int, float) or value < 0:
            raise UserError(
                f"{where}: axis={axis} takes numbers from 0 on, and row {row.label!r} has "
                f"{value!r}; leave axis out"
            )


def _check_plane(rows: Sequence[Row], where: str) -> None:
    """A heatmap has a place for every row: two settings that vary, and each pair of values once."""
    axes = plane(rows)
    places = {tuple(row.values.get(name) for name in axes) for row in rows}
    if len(axes) != 2 or len(places) < len(rows) or any(None in values for values in axes.values()):
        raise UserError(
            f"{where}: plot='heatmap' needs rows that all set the same two settings, each pair of "
            f"values once, and {', '.join(axes) or 'nothing'} varies; leave plot out"
        )


def _contrasts(table: Ablation, where: str) -> tuple[tuple[str, str], ...]:
    labels = [row.label for row in table.rows]
    if table.contrasts == EVERY_ROW:
        metrics = [metric for metric in FIRST if metric in table.metrics] or table.metrics[:1]
        others = [label for label in labels if label != table.partner(label)]
        return tuple((label, metric) for label in others for metric in metrics)
    for pair in table.contrasts:
        if isinstance(pair, str) or len(pair) != 2:
            raise UserError(f'{where}: contrast {pair!r} is not a pair; write ("label", "PC")')
        _known(pair[0], labels, f"{where}: contrasts", "row")
        _known(pair[1], table.metrics, f"{where}: contrasts", "metric of this table")
        if pair[0] == table.partner(pair[0]):
            raise UserError(f"{where}: contrast {pair!r} is of a row with itself; leave it out")
    if twice := repeated([tuple(pair) for pair in table.contrasts]):
        raise UserError(f"{where}: contrast {twice!r} is declared twice; leave one out")
    return tuple((label, metric) for label, metric in table.contrasts)
