"""The queue: which cells of a sweep wait, and who takes one.

The run folders are the only authority. A cell waits while its folder has no result, no failure and
no lease. Who takes its lease works on it: the file system gives the lease to one process
(`leases`). Beside the folders there is one file a sweep, for workers that other processes start:
the cells in their order, with their settings. A planner, one at a time, writes it and frees cells
whose worker died.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from filelock import Timeout

from direct.common.errors import UserError
from direct.common.files import lock, write_json
from direct.config import Config

from ..cell import read_json, read_result, write_config
from ..schema import Cell
from . import leases

CELL = re.compile("[0-9a-f]{12}")  # a cell's id; nothing else may name a folder
Planned = dict[str, dict[str, Any]]  # cells' ids, in their order, and their `config.json`


class Busy(UserError):
    """Another process plans."""


class Claim(NamedTuple):
    """A cell's folder, and the lease that it is worked on under."""

    run: Path
    token: str


@contextmanager
def planner(root: Path) -> Iterator[None]:
    """The right to plan below `root`, one process at a time; a killed holder frees it."""
    with ExitStack() as held:
        try:
            held.enter_context(lock(root / "planner.lock", seconds=0))
        except Timeout:
            raise Busy(
                f"another sweep is running in {root}; wait for it, help it with --join, or "
                "use another --out"
            ) from None
        yield


def plan(root: Path, sweep: str, cells: list[Cell]) -> None:
    """Makes every cell without a result wait, in this order. Call it under `planner`."""
    free(root, cells)
    left = [cell for cell in cells if not read_result(root / cell.id)]  # sets damaged ones aside
    own = [(cell.id, _settings(cell.config)) for cell in left]
    shared = own[0][1] if own else {}  # most sections of the settings are those of every cell
    differing = [
        [name, {key: value for key, value in settings.items() if value != shared[key]}]
        for name, settings in own
    ]
    write_json(_file(root, sweep), {"shared": shared, "cells": differing})


def _settings(config: Config) -> dict[str, Any]:
    """As `asdict`; a section that many cells have is looked at once."""
    return {x.name: _section(getattr(config, x.name)) for x in fields(config)}


@lru_cache(maxsize=256)
def _section(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def planned(root: Path, sweep: str) -> Planned:
    """The sweep's cells that were left when it was planned.

    Raises UserError where nobody planned it below `root`.
    """
    found = read_json(_file(root, sweep)) or {}
    shared, cells = found.get("shared"), found.get("cells")
    if not isinstance(shared, dict) or not isinstance(cells, list):
        raise UserError(
            f"sweep {sweep} is not planned in {root} (`all` is a queue of its own); run it once "
            "without --join, or give the name of the sweep that is running"
        )
    return {name: shared | own for name, own in filter(_named, cells)}


def _named(cell: Any) -> bool:
    """Whether an entry of the file is a cell's id, and its own settings."""
    pair = isinstance(cell, list) and list(map(type, cell)) == [str, dict]
    return pair and bool(CELL.fullmatch(cell[0]))


def _file(root: Path, sweep: str) -> Path:
    return root / "queue" / f"{sweep}.json"


def free(root: Path, cells: Iterable[Cell]) -> None:
    """Takes their leases from workers that are gone. Call it under `planner`."""
    for cell in cells:
        lease = root / cell.id / leases.NAME
        owner = read_json(lease)
        if lease.exists() and not leases.live(lease.parent) and read_json(lease) == owner:
            leases.revoke(lease.parent)  # no other worker took the cell while we looked


def waits(run: Path) -> bool:
    """Whether the cell has no result, no failure, and nobody who works on it."""
    return not ended(run) and not (run / leases.NAME).exists()


def ended(run: Path) -> bool:
    """Whether the last attempt wrote down how it ended."""
    return (run / "result.json").exists() or (run / "failure.json").exists()


def claim(root: Path, left: Planned) -> Claim | None:
    """The first cell of `left` that waits, which no other worker gets; `None` where none does.

    Its folder holds its configuration then. Cells that have ended are removed from `left`.
    """
    for name, settings in list(left.items()):
        run = root / name
        if not ended(run) and (token := leases.take(run)):
            if not ended(run):  # its last worker did not end it in between
                write_config(run, settings)
                return Claim(run, token)
            leases.drop(run, token)
        if ended(run):
            del left[name]
    return None
