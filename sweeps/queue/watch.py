"""What workers report of their cells, for the person who watches: time left, scores, failures."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

from ..cell import failure_of, read_result
from ..schema import Cell
from .display import Board, Display, Job
from .estimate import Estimator, words
from .scores import Scores
from .sweep import EACH, Sweep
from .workers import log


class Watch:
    """Takes in the events of workers (`worker.send`); nothing of the sweep depends on it."""

    def __init__(self, sweep: Sweep, display: Display, estimator: Estimator):
        self.display, self.estimator = display, estimator
        self.root, self.log, self.count = sweep.root, log(sweep), sweep.workers.count
        self.cells = {cell.id: cell for cell in sweep.cells}
        self.scores = Scores(sweep.table, self.cells)

    def heard(self, event: dict[str, Any]) -> None:
        """One event of a cell."""
        what, cell = event["event"], event["cell"]
        if what == "start":
            self.estimator.started(cell, event["first"])
        elif what == "progress":
            self.estimator.progress(cell, event["stage"], event["done"], event["total"])
        else:
            self.estimator.finished(cell)
            self._tell(cell, what)

    def _tell(self, cell: str, event: str) -> None:
        """What went wrong, as it happens; of a cell with scores, nothing: they are on the board."""
        result, reason = read_result(self.root / cell), failure_of(self.root / cell)
        if result and result["status"] == "diverged":
            self.display.say(f"diverged: {self._name(cell)}: {result['reason']}")
        elif result:
            self.scores.add(cell, result["scores"])
        elif event == "failed" and reason:
            self.display.say(f"failed: {self._name(cell)}: {reason} (see {self.log})")

    def _name(self, cell: str) -> str:
        own = self.cells[cell]
        return f"{own.row}, seed {own.config.seed} ({cell})"

    def show(self, left: Sequence[Cell], working: Collection[str]) -> None:
        """Shows how far the sweep is; `working`: the cells that this process's workers are at."""
        jobs = []
        for cell in (self.cells[name] for name in working if name in self.estimator.stages):
            name = f"{cell.row}, seed {cell.config.seed}"
            jobs.append(Job(name, *self.estimator.stages[cell.id]))
        count = self.count if self.count < EACH else max(1, len(working))
        remaining = self.estimator.remaining([cell.id for cell in left], count)
        done, total = len(self.cells) - len(left), len(self.cells)
        self.display.show(Board(done, total, words(remaining), tuple(jobs), self.scores.lines()))

    def last_words(self) -> str:
        """The last line of the workers' log, which may be full of more, or not be readable."""
        with suppress(OSError):
            lines = self.log.read_text(errors="replace").split("\n")
            last = next((line.strip() for line in reversed(lines) if line.strip()), "")
            return f" ({last[:200]}; see {self.log})"
        return ""
