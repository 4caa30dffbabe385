"""What a person sees of a running sweep: live on a terminal, else a plain line now and then."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any

from direct.common.text import plain

PLAIN_SECONDS = 10.0
WIDTH = 28  # of a bar, characters


@dataclass(frozen=True)
class Job:
    """What one worker does, or what is prepared."""

    name: str
    stage: str
    done: int
    total: int


@dataclass(frozen=True)
class Board:
    """A running sweep."""

    done: int  # cells
    total: int
    remaining: str  # time left, in words
    jobs: tuple[Job, ...] = ()
    scores: tuple[str, ...] = ()  # finished rows against their partners

    @property
    def line(self) -> str:
        stages = ", ".join(sorted({job.stage for job in self.jobs})) or "starting"
        return f"{self.done} of {self.total} cells done; {stages}; about {self.remaining} left"


class Display:
    """A context: `show` shows in place, `say` prints a line that stays."""

    def __init__(self) -> None:
        self.live: Any = None
        self.last = -PLAIN_SECONDS

    def __enter__(self) -> Display:
        if sys.stdout.isatty():
            from rich.console import Console
            from rich.live import Live

            self.console = Console(highlight=False)
            if not self.console.is_terminal or self.console.is_dumb_terminal:
                return self  # it can go back over no line, so rich would show nothing
            self.live = Live("", console=self.console, refresh_per_second=4, transient=True)
            self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.live:
            self.live.stop()

    def show(self, board: Board) -> None:
        """How far the sweep is."""
        if self.live:
            self.live.update(_drawn(board))
        else:
            self._now_and_then(board.line)

    def _now_and_then(self, text: str) -> None:
        if time.monotonic() - self.last >= PLAIN_SECONDS:
            self.last = time.monotonic()
            print(plain(text), flush=True)

    def say(self, text: str) -> None:
        if self.live:
            self.console.print(plain(text), markup=False)
        else:
            print(plain(text), flush=True)


def _drawn(board: Board) -> Any:
    """The board for rich: an overall bar, a line a worker, the scores so far."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1))
    for _ in range(3):
        grid.add_column(no_wrap=True, overflow="ellipsis")
    told = f"{board.done} of {board.total} cells, about {board.remaining} left"
    grid.add_row(Text("sweep"), ProgressBar(board.total, board.done, width=WIDTH), Text(told))
    for job in board.jobs:
        bar = ProgressBar(max(job.total, 1), job.done, width=WIDTH)
        words = f"{job.stage} {job.done} of {job.total}" if job.total else job.stage
        grid.add_row(Text(plain(job.name)), bar, Text(plain(words)))
    return Group(grid, *(Text(plain(line), style="dim") for line in board.scores))
