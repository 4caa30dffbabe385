"""A sweep as the queue sees it: its cells, where they are kept, and who works on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..schema import Ablation, Cell
from ..stages import REAL, Stages


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

    def __str__(self) -> str:
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
