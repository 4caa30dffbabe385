"""Runs a sweep's open cells by the workers of a launcher and shows how far they are.

Nothing here decides what is done: the run folders do. A worker that dies (killed, out of memory,
with its machine) is noticed, its cell goes back into the queue, and another worker takes its place.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Collection
from contextlib import nullcontext, suppress
from typing import Any

from direct.common import preempt
from direct.common.errors import UserError

from ..cell import failure_of, read_result
from ..schema import Cell
from . import leases, local, on_ray, waiting
from .dashboard import Mirror
from .display import Display
from .estimate import Estimator
from .seldom import Seldom
from .status import failures
from .sweep import Ended, Launcher, Sweep
from .watch import Watch
from .worker import MARK
from .workers import SAVE_SECONDS

POLL_SECONDS = 0.5
JOIN_SECONDS = 10.0
STOP_SECONDS = 5.0
PATIENCE = 30.0  # after Ctrl-C: for a long step to end; a second Ctrl-C ends it
ATTEMPTS = 3  # of one cell in one run: a cell that kills its worker every time must end
LOSSES = 10  # of its machine: mostly none of the cell's doing, but it may have taken all its memory
SETTLE_SECONDS = 5.0  # between looks for workers elsewhere that have died


def drain(sweep: Sweep, display: Display, estimator: Estimator) -> dict[str, str]:
    """Works until every cell has a result or has failed. Returns `{cell id: reason}` of failures.

    Call it under `waiting.planner`. With `workers.join`, outside of it, and until no cell waits:
    those that others work on are left to them.
    """
    workers, name = sweep.workers, sweep.table.name
    launcher = _launcher(sweep, display)
    if workers.join:
        waiting.planned(sweep.root, name)  # or it is refused here
    else:
        plan(sweep)
    mirror = Mirror(sweep, display.say)
    pool = _Pool(sweep, display, estimator, launcher)
    left = [cell for cell in sweep.cells if not read_result(sweep.root / cell.id)]
    settle, look, show = Seldom(SETTLE_SECONDS), Seldom(POLL_SECONDS), Seldom(0.0)
    ended = False
    try:
        pool.start(left)
        with look:
            left = pool.open(left)
        while left:
            preempt.check()
            if ended or settle.due:
                with settle:
                    _settle(sweep, left, mirror)
                pool.start(left)
            if workers.join and not pool.alive:
                break
            ended = pool.listen()
            if show.due:
                with show:
                    pool.watch.show(left, pool.working.values())
            told = None if look.due else pool.told  # cells of other planners end unheard
            with look if told is None else nullcontext():
                left = pool.open(left, told)
        pool.join()
    except KeyboardInterrupt:
        display.say("stopping after this step; press again to stop now")
        pool.stop(PATIENCE)
        raise
    finally:
        pool.stop()
        pool.let_go()
        _settle(sweep, left, mirror, last=True)
    return pool.failed


def _launcher(sweep: Sweep, display: Display) -> Launcher:
    if sweep.workers.launcher == "ray":
        return on_ray.Tasks(sweep, display.say)
    return local.Processes(sweep)


def plan(sweep: Sweep) -> None:
    """Every open cell waits afterwards. Call it under `waiting.planner`."""
    if sweep.workers.retry_failed:
        for cell in sweep.cells:
            (sweep.root / cell.id / "failure.json").unlink(missing_ok=True)
    failed = failures(sweep.cells, sweep.root)
    waiting.plan(sweep.root, sweep.table.name, [x for x in sweep.cells if x.id not in failed])


def _settle(sweep: Sweep, left: list[Cell], mirror: Mirror, last: bool = False) -> None:
    """Frees the cells of dead workers, and shows what has ended. Of helpers, one at a time."""
    planner = waiting.planner(sweep.root) if sweep.workers.join else nullcontext()
    with suppress(waiting.Busy), planner:
        waiting.free(sweep.root, left)
        mirror.update(left, last)


class _Pool:
    """The workers of one `drain`."""

    def __init__(self, sweep: Sweep, display: Display, estimator: Estimator, launcher: Launcher):
        self.workers, self.root, self.launcher = sweep.workers, sweep.root, launcher
        self.display, self.watch = display, Watch(sweep, display, estimator)
        self.alive: set[int] = set()  # workers
        self.working: dict[int, str] = {}  # worker -> cell
        self.failed: dict[str, str] = {}
        self.told: set[str] = set()  # cells whose end was told, and which may have been looked at
        self.deaths: Counter[tuple[str, bool]] = Counter()  # by cell; apart: with their machine
        self.held: list[waiting.Claim] = []  # cells that nobody gets any more in this run

    def start(self, left: list[Cell]) -> None:
        """Has a worker for each cell that waits, up to as many workers as there may be."""
        if len(self.alive) >= self.workers.count:
            return
        open_cells = sum(waiting.waits(self.root / cell.id) for cell in left)
        while len(self.alive) < min(self.workers.count, len(self.working) + open_cells):
            self.alive.add(self.launcher.start())

    def listen(self) -> bool:
        """Takes in what workers say until a cell or a worker ends, or one poll is over.

        True if a worker ended.
        """
        until, alive = time.monotonic() + POLL_SECONDS, len(self.alive)
        while (left := until - time.monotonic()) > 0:
            ended = [self._take(*said) for said in self.launcher.hear(left)]
            if any(ended):
                break
        return len(self.alive) < alive

    def _take(self, worker: int, line: str | Ended) -> bool:
        """Acts on one line of a worker, or its end; whether something ended."""
        if isinstance(line, Ended):
            self._bury(worker, line)
            return True
        if not line.startswith(MARK):
            self.display.say(line)
            return False
        event: dict[str, Any] = json.loads(line[1:])
        if event["event"] == "say":
            self.display.say(event["text"])
            return False
        self.watch.heard(event)
        if event["event"] == "start":
            self.working[worker] = event["cell"]
        if event["event"] in ("start", "progress"):
            return False
        self.working.pop(worker, None)
        self.told.add(event["cell"])
        return True

    def open(self, cells: list[Cell], told: Collection[str] | None = None) -> list[Cell]:
        """Those that have not ended; `told`: all others are known to be open, and not looked at."""
        if told is None:
            return [cell for cell in cells if not self.ended(cell.id)]
        return [cell for cell in cells if cell.id not in told or not self.ended(cell.id)]

    def ended(self, cell: str) -> bool:
        """Whether the cell has a result or has failed for good."""
        if read_result(self.root / cell):
            return True
        if reason := failure_of(self.root / cell):
            self.failed[cell] = reason
        return cell in self.failed

    def _bury(self, worker: int, ended: Ended) -> None:
        """Forgets a worker. A cell that has ended its worker too often has failed."""
        self.alive.discard(worker)
        cell = self.working.pop(worker, "")
        if not ended.how or (cell and self.ended(cell)):
            return
        what = f"{cell}: its worker" if cell else "a worker without a cell"
        self.display.say(f"{what} ended {ended.how}, another takes over")
        self.deaths[cell, ended.lost] += 1
        times = self.deaths[cell, ended.lost]
        if times < (LOSSES if ended.lost else ATTEMPTS):
            return
        reason = f"its worker ended {times} times, last {ended.how}{self.watch.last_words()}"
        if cell:
            self.failed[cell] = reason  # in this run: the next may have no such killer
            self.told.add(cell)
            self._hold(cell)
        elif not ended.lost:
            raise UserError(f"workers end before they take a cell: {reason}")

    def _hold(self, cell: str) -> None:
        """Keeps workers from a cell that kills them, until this run ends."""
        if self.workers.join:  # only a planner may take a lease away
            return
        waiting.free(self.root, [self.watch.cells[cell]])
        if token := leases.take(self.root / cell):
            self.held.append(waiting.Claim(self.root / cell, token))

    def let_go(self) -> None:
        for run, token in self.held:
            leases.drop(run, token)

    def join(self) -> None:
        """Lets workers tell their last cell and end by themselves: the queue is empty."""
        until = time.monotonic() + JOIN_SECONDS
        while self.alive and time.monotonic() < until:
            self.listen()

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Has workers save their cells and give them back; before a time limit there is time."""
        self.launcher.stop(SAVE_SECONDS if preempt.requested() else seconds)
