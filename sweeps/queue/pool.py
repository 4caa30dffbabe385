"""Runs a sweep's open cells in worker processes and shows how far they are.

Nothing here decides what is done: the run folders do. A worker that dies (killed, out of memory) is
noticed, its cell goes back into the queue, and another worker takes its place.
"""

from __future__ import annotations

import json
import os
import queue as queues
import subprocess
import threading
import time
from collections import Counter
from contextlib import nullcontext, suppress
from typing import Any

from direct.common import preempt
from direct.common.errors import UserError

from ..cell import failure_of, read_result
from ..schema import Cell
from . import leases, waiting
from .dashboard import Mirror
from .display import Board, Display, Job
from .estimate import Estimator, words
from .scores import Scores
from .status import failures
from .sweep import Sweep
from .worker import MARK
from .workers import SAVE_SECONDS, devices

POLL_SECONDS = 0.5
JOIN_SECONDS = 10.0
ENDED = "\x04"  # in place of a line: the worker has closed its output
STOP_SECONDS = 5.0
PATIENCE = 30.0  # after Ctrl-C: for a long step to end; a second Ctrl-C ends it
ATTEMPTS = 3  # of one cell in one run: a cell that kills its worker every time must end
SETTLE_SECONDS = 5.0  # between looks for workers elsewhere that have died


def drain(sweep: Sweep, display: Display, estimator: Estimator) -> dict[str, str]:
    """Works until every cell has a result or has failed. Returns `{cell id: reason}` of failures.

    Call it under `waiting.planner`. With `workers.join`, outside of it, and until no cell waits:
    those that others work on are left to them.
    """
    workers, name = sweep.workers, sweep.table.name
    if workers.join:
        waiting.planned(sweep.root, name)  # or it is refused here
    else:
        plan(sweep)
    mirror = Mirror(sweep, display.say)
    pool = _Pool(sweep, display, estimator)
    left = [cell for cell in sweep.cells if not read_result(sweep.root / cell.id)]
    settled = time.monotonic()
    try:
        while left := [cell for cell in left if not pool.ended(cell.id)]:
            preempt.check()
            if pool.reap() or time.monotonic() - settled > SETTLE_SECONDS:
                _settle(sweep, left, mirror)
                settled = time.monotonic()
            wanted = min(workers.count, len(left))
            if len(pool.processes) < wanted and any(waiting.waits(pool.root / x.id) for x in left):
                pool.start(wanted)
            elif workers.join and not pool.processes:
                break
            pool.listen()
            display.show(pool.board(left))
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
    """The worker processes of one `drain`."""

    def __init__(self, sweep: Sweep, display: Display, estimator: Estimator):
        self.workers, self.root = sweep.workers, sweep.root
        self.command = [*sweep.stages.worker, str(sweep.root), str(sweep.cache), sweep.table.name]
        self.display, self.estimator = display, estimator
        self.cells = {cell.id: cell for cell in sweep.cells}
        self.scores = Scores(sweep.table, self.cells)
        self.threads = max(cell.config.threads for cell in sweep.cells)
        self.processes: list[subprocess.Popen[str]] = []
        self.readers: dict[int, threading.Thread] = {}
        self.messages: queues.Queue[tuple[int, str]] = queues.Queue()
        self.failed: dict[str, str] = {}
        self.deaths: Counter[str] = Counter()
        self.working: dict[int, str] = {}  # process id -> cell
        self.begun: set[int] = set()  # process ids that have had a cell
        self.held: list[waiting.Claim] = []  # cells that nobody gets any more in this run
        self.slots: dict[int, int] = {}  # process id -> which of the allocation's devices it owns

    def start(self, workers: int) -> None:
        while len(self.processes) < workers:
            slot = min(set(range(workers)) - set(self.slots.values()))
            threads = str(self.threads)
            environment = os.environ | {
                "OMP_NUM_THREADS": threads,
                "MKL_NUM_THREADS": threads,
                "PYTHONUNBUFFERED": "1",
                **devices(slot, self.workers.gpus),
            }
            log = open(self.root / "workers.log", "a")  # noqa: SIM115
            process = subprocess.Popen(
                self.command,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
                start_new_session=True,  # Ctrl-C goes to the parent alone
            )
            log.close()
            self.processes.append(process)
            self.slots[process.pid] = slot
            reader = threading.Thread(target=self._read, args=(process,), daemon=True)
            reader.start()
            self.readers[process.pid] = reader

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        for line in process.stdout:
            self.messages.put((process.pid, line.rstrip("\n")))
        self.messages.put((process.pid, ENDED))

    def listen(self) -> None:
        """Takes in what workers send until a cell or a worker ends, or one poll is over."""
        until = time.monotonic() + POLL_SECONDS
        while (left := until - time.monotonic()) > 0:
            try:
                if self._take(*self.messages.get(timeout=left)):
                    return
            except queues.Empty:
                return

    def _take_all(self) -> None:
        while not self.messages.empty():
            self._take(*self.messages.get())

    def _take(self, pid: int, line: str) -> bool:
        """Acts on one line of a worker; whether something ended."""
        if line == ENDED:
            return True
        if not line.startswith(MARK):
            self.display.say(line)
            return False
        event: dict[str, Any] = json.loads(line[1:])
        if event["event"] == "progress":
            self.estimator.progress(event["cell"], event["stage"], event["done"], event["total"])
        elif event["event"] == "start":
            self.working[pid] = event["cell"]
            self.estimator.started(event["cell"], first=pid not in self.begun)
            self.begun.add(pid)
        elif event["event"] == "say":
            self.display.say(event["text"])
        else:
            self.working.pop(pid, None)
            self.estimator.finished(event["cell"])
            self._tell(event["cell"], event["event"])
            return True
        return False

    def _tell(self, cell: str, event: str) -> None:
        """What went wrong, as it happens; of a cell with scores, nothing: they are on the board."""
        result, reason = read_result(self.root / cell), failure_of(self.root / cell)
        if result and result["status"] == "diverged":
            self.display.say(f"diverged: {self._name(cell)}: {result['reason']}")
        elif result:
            self.scores.add(cell, result["scores"])
        elif event == "failed" and reason:
            log = self.root / "workers.log"
            self.display.say(f"failed: {self._name(cell)}: {reason} (see {log})")

    def _name(self, cell: str) -> str:
        own = self.cells[cell]
        return f"{own.row}, seed {own.config.seed} ({cell})"

    def board(self, left: list[Cell]) -> Board:
        """What the person who watches sees."""
        jobs = tuple(
            Job(self.cells[cell].row, self.cells[cell].config.seed, *self.estimator.stages[cell])
            for cell in self.working.values()
            if cell in self.estimator.stages
        )
        remaining = self.estimator.remaining([cell.id for cell in left], self.workers.count)
        done, total = len(self.cells) - len(left), len(self.cells)
        return Board(done, total, words(remaining), jobs, self.scores.lines())

    def ended(self, cell: str) -> bool:
        """Whether the cell has a result or has failed for good."""
        if read_result(self.root / cell):
            return True
        if reason := failure_of(self.root / cell):
            self.failed[cell] = reason
        return cell in self.failed

    def reap(self) -> bool:
        """Forgets ended workers; true if there were any.

        A cell that has ended its worker `ATTEMPTS` times has failed.
        """
        ended = [process for process in self.processes if process.poll() is not None]
        for process in ended:
            self.readers.pop(process.pid).join(5)  # its last words come first
        self._take_all()
        for process in ended:
            self.processes.remove(process)
            self.slots.pop(process.pid)
            cell = self.working.pop(process.pid, "")
            if process.returncode == 0 or (cell and self.ended(cell)):
                continue
            self.deaths[cell] += 1
            what = f"{cell}: its worker" if cell else "a worker without a cell"
            self.display.say(f"{what} ended with status {process.returncode}, another takes over")
            if self.deaths[cell] >= ATTEMPTS:
                reason = (
                    f"its worker ended {ATTEMPTS} times, last with status "
                    f"{process.returncode}{self._last_words()}"
                )
                if not cell:
                    raise UserError(f"workers end before they take a cell: {reason}")
                self.failed[cell] = reason  # in this run: the next may have no such killer
                self._hold(cell)
        return bool(ended)

    def _hold(self, cell: str) -> None:
        """Keeps workers from a cell that kills them, until this run ends."""
        if self.workers.join:  # only a planner may take a lease away
            return
        waiting.free(self.root, [self.cells[cell]])
        if token := leases.take(self.root / cell):
            self.held.append(waiting.Claim(self.root / cell, token))

    def let_go(self) -> None:
        for run, token in self.held:
            leases.drop(run, token)

    def _last_words(self) -> str:
        """The last line of the workers' log, which may be full of more, or not be writable."""
        with suppress(OSError):
            lines = (self.root / "workers.log").read_text(errors="replace").split("\n")
            last = next((line.strip() for line in reversed(lines) if line.strip()), "")
            return f" ({last[:200]}; see {self.root / 'workers.log'})"
        return ""

    def join(self) -> None:
        """Lets workers tell their last trial and end by themselves: the queue is empty."""
        until = time.monotonic() + JOIN_SECONDS
        for process in self.processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Has workers save their cells and give them back; before a time limit there is time."""
        seconds = SAVE_SECONDS if preempt.requested() else seconds
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        until = time.monotonic() + seconds
        for process in self.processes:
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                until = 0.0  # for the others as well
                process.kill()
                process.wait()
