"""What was asked for: a table with its cells and settings, noted in the run folder.

runs/<profile>/experiments/<experiment>/<table>.json is written before the first cell is run. So
`status`, `list`, `report` and `results.load` need no option, nor the file that declared the table.
The cells are noted one by one, as what differs from one base configuration: a row's function of the
configuration, or a later default, changes nothing about them.

A table of the paper as it is makes an experiment of its sweep's name, and is reported in
reports/<profile>/. A variant of it, a grid and a table of one's own have a name of their own, which
is the folder of their reports: reports/<profile>/<name>/.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from direct.common.errors import UserError, nearest
from direct.common.files import digest, note_json, read_json
from direct.config import Config
from direct.identity import restored
from direct.settings import settings, with_values

from .schema import BUILT_IN, METRICS, Ablation, Cell, Metric, Row

FOLDER = "experiments"
VERSION = 1
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
LONGEST = 80  # characters of a name, which is a folder's


@dataclass(frozen=True)
class Experiment:
    """A table as it was asked for."""

    name: str
    table: Ablation  # `changed`: the settings that --set gave to all of its cells
    cells: tuple[Cell, ...]
    base: Config  # under every row
    own: bool = True  # its reports have a folder of their own
    metrics: dict[str, Metric] = field(default_factory=dict)  # of a plug-in's judge, as noted

    def target(self, out: Path) -> Path:
        """The folder of its reports."""
        folder = out / "reports" / self.base.profile
        return folder / self.name if self.own else folder

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(cell.config.seed for cell in self.cells))


def checked_name(name: str, what: str, taken: Iterable[str] = ()) -> str:
    """`name`, if it can be a folder's and is not `taken`. what: where it comes from, in words."""
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        raise UserError(
            f"{what} {name!r} cannot name a folder; use letters, digits, '.', '_' and '-', at most "
            f"{LONGEST} of them, and a letter or digit first"
        )
    if name in taken:
        raise UserError(f"{what} {name} is the name of a sweep or a command; use another")
    return name


def automatic_name(parts: Sequence[str]) -> str:
    """A folder's name from texts such as `train.learning_rate=0.0002`."""
    name = "_".join(re.sub(r"[^A-Za-z0-9._-]+", "_", part).strip("_") for part in parts)
    if len(name) <= LONGEST:
        return name
    return f"{name[: LONGEST - 7]}-{digest(list(parts), 6)}"


def words(name: str, value: Any) -> str:
    """`train.learning_rate=0.0002`: one spelling of a value; of a path its last part alone."""
    return f"{name}={','.join(map(_word, value)) if isinstance(value, tuple) else _word(value)}"


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = f"{value:.10g}" if isinstance(value, float) else str(value)
    return Path(text).name if text.startswith("/") else text


# The record ---------------------------------------------------------------------------------------


def place_of(root: Path, name: str, table: str) -> Path:
    """The record's file, below the profile's run folders."""
    return root / FOLDER / name / f"{table}.json"


def check_name_is_free(experiment: Experiment, root: Path) -> None:
    """A name stands for one set of changed settings: with others it is a `UserError`.

    The reports of the two would take each other's place.
    """
    name, changed = experiment.name, experiment.table.changed
    for path in sorted((root / FOLDER / name).glob("*.json")) if experiment.own else ():
        before = tuple(read_json(path).get("table", {}).get("changed", ()))
        if set(before) != set(changed):
            raise UserError(
                f"{name} is an experiment with {', '.join(before) or 'no setting changed'}, and "
                f"this one has {', '.join(changed) or 'none'}; give another --name, or remove "
                f"{path.parent}"
            )


def check_looks(experiment: Experiment, root: Path) -> None:
    """Looks are planned before results are seen: other ones than noted are a `UserError`."""
    path = place_of(root, experiment.name, experiment.table.name)
    if not path.exists():
        return
    before = tuple(read_json(path).get("table", {}).get("rounds", ()))
    if before != experiment.table.rounds:
        raise UserError(
            f"{experiment.name} was begun with {_looks(before)}, and this asks for "
            f"{_looks(experiment.table.rounds)}; go on as it was begun, or give another --name"
        )


def _looks(rounds: tuple[int, ...]) -> str:
    if not rounds:
        return "fixed seeds"
    return f"--until-decided --max-seeds {rounds[-1]} (looks at {', '.join(map(str, rounds))})"


def remember(experiment: Experiment, root: Path) -> None:
    """Notes the experiment below `root`, in place of what was asked for by this name before."""
    note_json(place_of(root, experiment.name, experiment.table.name), _noted(experiment))


def recorded(root: Path) -> tuple[list[Experiment], list[str]]:
    """The experiments below `root` in the order of their names, and what cannot be read."""
    found, faults = [], []
    for path in sorted((root / FOLDER).glob("*/*.json")):
        try:
            found.append(parsed(read_json(path), path))
        except UserError as error:
            faults.append(str(error))
    return found, faults


def parsed(value: Any, where: object) -> Experiment:
    """The experiment of a record's JSON; else a `UserError` that names the place."""
    try:
        return _restored(value)
    except UserError:
        raise
    except (TypeError, KeyError, AttributeError, ValueError, ArithmeticError) as error:
        raise UserError(
            f"{where} is not an experiment that this version has noted "
            f"({type(error).__name__}: {error}); run the experiment again"
        ) from None


def named(text: str, known: Sequence[Experiment]) -> list[Experiment]:
    """Those that `text` names: an experiment, or one table of it, as lr2e-4:lambda_hard."""
    name, _, table = text.partition(":")
    found = [x for x in known if x.name == name and table in ("", x.table.name)]
    if not found:
        names = {x.name for x in known} | {f"{x.name}:{x.table.name}" for x in known if table}
        hint = nearest(text, names) if names else "none has been run here"
        raise UserError(f"{text} is not an experiment that was run here; {hint}")
    return found


def _noted(experiment: Experiment) -> dict[str, Any]:
    base = settings(experiment.base)
    return {
        "version": VERSION,
        "name": experiment.name,
        "own": experiment.own,
        "table": _table(experiment.table, experiment.base),
        "metrics": {
            name: dataclasses.asdict(METRICS[name])
            for name in experiment.table.metrics
            if name not in BUILT_IN
        },
        "base": dataclasses.asdict(experiment.base),
        "cells": [
            {
                "cell": cell.id,
                "row": cell.row,
                "candidate": cell.candidate,
                "settings": {
                    name: value
                    for name, value in settings(cell.config).items()
                    if value != base[name]
                },
            }
            for cell in experiment.cells
        ],
    }


def _table(table: Ablation, base: Config) -> dict[str, Any]:
    """The declaration as JSON; functions of the configuration are given the base's."""

    def values(given: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value(base) if callable(value) else value for name, value in given.items()}

    found = {x.name: getattr(table, x.name) for x in dataclasses.fields(table)}
    rows = [{x.name: getattr(row, x.name) for x in dataclasses.fields(row)} for row in table.rows]
    return found | {
        "common": values(table.common),
        "rows": [row | {"part": str(row["part"]), "values": values(row["values"])} for row in rows],
    }


def _restored(value: dict[str, Any]) -> Experiment:
    if value["version"] != VERSION:
        raise ValueError(f"version {value['version']}, not {VERSION}")
    base: Config = restored(value["base"])
    rows = tuple(
        Row(**_tuples(row) | {"part": Fraction(row["part"]), "values": _tuples(row["values"])})
        for row in value["table"]["rows"]
    )
    own = _tuples(value["table"]) | {"rows": rows, "common": _tuples(value["table"]["common"])}
    own["contrasts"] = tuple((label, metric) for label, metric in own["contrasts"])
    cells = tuple(
        Cell(entry["row"], with_values(base, _tuples(entry["settings"])), entry["candidate"])
        for entry in value["cells"]
    )
    for cell, entry in zip(cells, value["cells"], strict=True):
        if cell.id != entry["cell"]:
            raise UserError(
                f"{value['name']} was planned by a version that names its cells otherwise; run the "
                "experiment again"
            )
    metrics = {name: Metric(**shown) for name, shown in value.get("metrics", {}).items()}
    return Experiment(value["name"], Ablation(**own), cells, base, value["own"], metrics)


def _tuples(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(x) if isinstance(x, list) else x for name, x in value.items()}
