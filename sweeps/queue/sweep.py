"""A sweep as the queue sees it: its cells, where they are kept, and who works on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from ..schema import Ablation, Cell
from ..stages import REAL, Stages

EACH = 10**9  # workers: as many as cells wait


@dataclass(frozen=True)
class Workers:
    """Who works on a sweep. None of it can change a result."""

    count: int  # processes
    gpus: int = 0  # of each, its own ones; 0: as the environment gives them
    storage: str | None = None  # a PostgreSQL URL; None: a journal file
    retry_failed: bool = False
    join: bool = False  # help a sweep that another process planned
    accept_old: bool = False  # results that other code made are used, and the tables say so
    rerun: bool = False  # they are made again
    launcher: str | None = None  # who starts them: this process, "slurm" or "ray"

    def __str__(self) -> str:
        if self.count == EACH:
            return f"a worker each, {f'of {self.gpus} GPUs' if self.gpus else 'without GPUs'}"
        return f"{self.count} worker{'s' if self.count > 1 else ''}"


@dataclass(frozen=True)
class Sweep:
    """What is to be done, where, and by whom."""

    table: Ablation
    cells: list[Cell]
    root: Path  # runs/<profile>: a folder a cell
    cache: Path  # cache/<profile>: what cells share
    workers: Workers
    stages: Stages = REAL


class Ended(NamedTuple):
    """A worker has ended."""

    how: str  # in words; empty where it ended as it should
    lost: bool = False  # with the machine under it, which no cell is blamed for at once


class Launcher(Protocol):
    """Starts workers and hears from them; a worker is known by a number.

    `local` starts processes of this machine, and `on_ray` tasks of a cluster. `slurm` writes a
    script, each of whose tasks starts its worker by `local`. Who works on a cell, no launcher
    decides: the workers' leases do.
    """

    def start(self) -> int:
        """Starts a worker; its number, of which no other one is at work."""

    def hear(self, seconds: float) -> list[tuple[int, str | Ended]]:
        """What workers have said or how they ended, in order; waits until there is something."""

    def stop(self, seconds: float) -> None:
        """Has the workers save their cells and give them back, and ends who has not by then."""
