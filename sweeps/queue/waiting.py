"""The queue: which cells of a sweep wait, and who takes one.

The run folders are the only authority. A cell waits while its folder has no result, no failure and
no lease. Who takes its lease works on it: the file system gives the lease to one process
(`leases`). Beside the folders there is one file a sweep, the cells in their order, for workers that
other processes start. A planner, one at a time, writes it and frees cells whose worker died.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from filelock import Timeout

from direct.common.errors import UserError
from direct.common.files import lock, write_json

from ..cell import read_json, read_result, write_config
from ..schema import Cell
from . import leases

CELL = re.compile("[0-9a-f]{12}")  # a cell's id; nothing else may name a folder


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
    for cell in left:
        if not (root / cell.id / leases.NAME).exists():
            write_config(root / cell.id, cell.config)
    write_json(_file(root, sweep), {"cells": [cell.id for cell in left]})


def planned(root: Path, sweep: str) -> list[str]:
    """The ids of the sweep's cells that were left when it was planned.

    Raises UserError where nobody planned it below `root`.
    """
    listed = (read_json(_file(root, sweep)) or {}).get("cells")
    if not isinstance(listed, list):
        raise UserError(
            f"sweep {sweep} is not planned in {root} (`all` is a queue of its own); run it once "
            "without --join, or give the name of the sweep that is running"
        )
    return [name for name in listed if isinstance(name, str) and CELL.fullmatch(name)]


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


def claim(root: Path, left: dict[str, None]) -> Claim | None:
    """The first cell of `left` that waits, which no other worker gets; `None` where none does.

    Cells that have ended are removed from `left`.
    """
    for name in list(left):
        run = root / name
        if not ended(run) and (token := leases.take(run)):
            if not ended(run):  # its last worker did not end it in between
                return Claim(run, token)
            leases.drop(run, token)
        if ended(run):
            del left[name]
    return None
