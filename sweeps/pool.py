"""Runs a sweep's open cells in worker processes and shows how far they are.

Nothing here decides what is done: the run folders do. A worker that dies (killed, out of memory) is
noticed, its cell goes back into the queue, and another worker takes its place.
"""

from __future__ import annotations

import json
import os
import queue as queues
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from direct.errors import UserError

from . import study as queue
from .ablations import Ablation, Cell
from .cell import read_json, read_result
from .estimate import Estimator, words
from .progress import Display
from .worker import MARK

WORKER = [sys.executable, "-m", "sweeps.worker"]  # replaced in tests
POLL_SECONDS = 0.5
JOIN_SECONDS = 10.0
REPLAN_SECONDS = 5.0  # a worker that died just after its claim is seen only later


def drain(table: Ablation, cells: list[Cell], root: Path, cache: Path, workers: int,
          display: Display, estimator: Estimator) -> dict[str, str]:
    """Works until every cell has a result or has failed. Returns `{cell id: reason}` of failures.

    Call it under `study.planner`.
    """
    pool = _Pool(table, root, cache, cells, display, estimator)
    if said := queue.repair(queue.journal(root)):
        display.say(said)
    study = queue.open_study(root, table.name)
    queue.plan(study, table, cells, root)
    left = [cell for cell in cells if not read_result(root / cell.id)]
    for cell in left:
        (root / cell.id / "failure.json").unlink(missing_ok=True)  # tried again by a new run
    planned = time.monotonic()
    try:
        while left := [cell for cell in left if not pool.ended(cell.id)]:
            if pool.reap() or time.monotonic() - planned > REPLAN_SECONDS:
                queue.plan(study, table, left, root)
                planned = time.monotonic()
            pool.start(min(workers, len(left)))
            pool.listen()
            display.update(_line(estimator, cells, left, workers))
        pool.join()
    finally:
        pool.stop()
    return pool.failed


def _line(estimator: Estimator, cells: list[Cell], left: list[Cell], workers: int) -> str:
    remaining = words(estimator.remaining([cell.id for cell in left], workers))
    stages = ", ".join(sorted(set(estimator.stages.values())))
    return (f"{len(cells) - len(left)} of {len(cells)} cells done; {stages or 'starting'}; "
            f"about {remaining} left")


class _Pool:
    """The worker processes of one `drain`."""

    def __init__(self, table: Ablation, root: Path, cache: Path, cells: list[Cell],
                 display: Display, estimator: Estimator):
        self.arguments = [str(root), str(cache), table.name]
        self.root, self.display, self.estimator = root, display, estimator
        self.threads = max(cell.config.threads for cell in cells)
        self.processes: list[subprocess.Popen[str]] = []
        self.readers: dict[int, threading.Thread] = {}
        self.messages: queues.Queue[str] = queues.Queue()
        self.failed: dict[str, str] = {}
        self.deaths: Counter[str] = Counter()
        self.working: dict[int, str] = {}  # process id -> cell

    def start(self, workers: int) -> None:
        while len(self.processes) < workers:
            threads = str(self.threads)
            environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads,
                                        "PYTHONUNBUFFERED": "1"}
            log = open(self.root / "workers.log", "a")  # noqa: SIM115
            process = subprocess.Popen(
                [*WORKER, *self.arguments], stdout=subprocess.PIPE, stderr=log, text=True,
                env=environment, start_new_session=True,  # Ctrl-C goes to the parent alone
            )
            log.close()
            self.processes.append(process)
            reader = threading.Thread(target=self._read, args=(process,), daemon=True)
            reader.start()
            self.readers[process.pid] = reader

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        for line in process.stdout:
            self.messages.put(f"{process.pid} {line}")

    def listen(self) -> None:
        """Waits one poll, then takes in what workers sent."""
        time.sleep(POLL_SECONDS)
        self._take_all()

    def _take_all(self) -> None:
        while not self.messages.empty():
            self._take(self.messages.get())

    def _take(self, message: str) -> None:
        pid, line = message.rstrip("\n").split(" ", 1)
        if not line.startswith(MARK):
            self.display.say(line)
            return
        event: dict[str, Any] = json.loads(line[1:])
        if event["event"] == "progress":
            self.estimator.progress(event["cell"], event["stage"], event["done"], event["total"])
        elif event["event"] == "start":
            self.working[int(pid)] = event["cell"]
        elif event["event"] == "say":
            self.display.say(event["text"])
        else:
            self.working.pop(int(pid), None)
            self.estimator.finished(event["cell"])

    def ended(self, cell: str) -> bool:
        """Whether the cell has a result or has failed for good."""
        if failure := read_json(self.root / cell / "failure.json"):
            self.failed[cell] = failure["reason"]
        return cell in self.failed or read_result(self.root / cell) is not None

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
            cell = self.working.pop(process.pid, "")
            if process.returncode == 0 or (cell and self.ended(cell)):
                continue
            self.deaths[cell] += 1
            what = f"{cell}: its worker" if cell else "a worker without a cell"
            self.display.say(f"{what} ended with status {process.returncode}, another takes over")
            if self.deaths[cell] >= queue.ATTEMPTS:
                reason = (f"its worker ended {queue.ATTEMPTS} times, last with status "
                          f"{process.returncode}; see {self.root / 'workers.log'}")
                if not cell:
                    raise UserError(f"workers end before they take a cell: {reason}")
                self.failed[cell] = reason
        return bool(ended)

    def join(self) -> None:
        """Lets workers tell their last trial and end by themselves: the queue is empty."""
        until = time.monotonic() + JOIN_SECONDS
        for process in self.processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))

    def stop(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.terminate()  # nothing to save: a cell resumes from its last checkpoint
        for process in self.processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

