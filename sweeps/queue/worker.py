"""A worker process: claims cells of a sweep until none waits. Started by `pool`.

Lines of standard output that begin with MARK are messages for the parent (JSON); all others are for
the person who watches, and the parent passes them on. A worker dies with its parent. At SIGTERM or
SIGUSR1 it saves what its cell has and ends; the cell waits again.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from direct.common import preempt
from direct.common.errors import UserError, command, no_space
from direct.common.files import write_json
from direct.config import Run

from ..cell import begin, failure_of, read_config, read_result, run_cell
from ..stages import REAL, Stages
from . import leases, waiting
from .workers import GPUS, ONE_CELL, given, on_several

MARK = "\x1e"


def main(root: Path, cache: Path, sweep: str, stages: Stages = REAL) -> None:
    """Works on what waits of this sweep over the run folders below `root`."""
    preempt.listen(signal.SIGTERM, signal.SIGUSR1)
    follow(os.getppid())
    left, first = waiting.planned(root, sweep), True
    while not preempt.requested() and (claimed := waiting.claim(root, left)):
        run, token = claimed
        send(event="start", cell=run.name, first=first)
        first = False
        try:
            with leases.touched(run, token):
                _work(cache, run, token, stages)
        finally:
            leases.drop(run, token)
        if os.environ.get(ONE_CELL):
            return


def _work(cache: Path, run: Path, token: str, stages: Stages) -> None:
    """Attempts the cell of folder `run`, then tells the parent what the folder says."""
    with suppress(UserError):  # a damaged folder: the attempt itself says so
        begin(run, stages)
    if (ranks := ranks_of(run)) > 1:
        stopped = on_several(ranks, stages.rank, cache, run, token)
    else:
        stopped = attempt(cache, run, token, stages)
    if result := read_result(run):
        send(event="done", cell=run.name, status=result["status"])
    elif stopped:
        send(event="stopped", cell=run.name)
    elif failure_of(run):
        send(event="failed", cell=run.name)
    else:
        send(event="say", text=f"{run.name}: another worker has taken over; its result counts")


def ranks_of(folder: Path) -> int:
    """How many processes work on this cell: one on each GPU, or one where it measures."""
    with suppress(UserError):  # a damaged folder: the attempt says so
        if read_config(folder, load=False).measure.kind != "scores":
            return 1
    return int(os.environ.get(GPUS, "1"))


def attempt(cache: Path, folder: Path, token: str, stages: Stages = REAL) -> bool:
    """Runs the cell in this process; its folder then holds `result.json` or `failure.json`.

    True if it was asked to stop, false with neither file if its lease was lost.
    """

    def progress(stage: str, done: int, total: int) -> None:
        send(event="progress", cell=folder.name, stage=stage, done=done, total=total)
        if stage != "train":  # which looks for itself, and saves first
            preempt.check()

    def work() -> None:
        run = Run(read_config(folder), cache, folder, progress=progress)
        run_cell(run, stages, lambda: leases.holds(folder, token))

    try:
        try:
            work()
        except FileNotFoundError as error:
            if not _lies_below(cache, error.filename):
                raise
            send(event="say", text=f"{folder.name}: {error.filename} was removed; made again")
            work()
    except preempt.Preempted:
        return True
    except Exception as error:
        if no_space(error):  # the machine's fault: the cell must not fail for good
            raise
        reason = _reason(error)
        if leases.holds(folder, token):  # or the cell is another's, who may succeed
            write_json(folder / "failure.json", {"reason": reason})
    return False


def _lies_below(folder: Path, name: object) -> bool:
    return isinstance(name, str | Path) and folder.resolve() in Path(name).resolve().parents


def _reason(error: Exception) -> str:
    known = isinstance(error, UserError)
    if not known or error.__cause__:  # a plug-in's code, which its author will debug
        traceback.print_exc()  # into the workers' log
    return str(error) if known else f"{type(error).__name__}: {error}"


def send(**message: Any) -> None:
    """One message to the parent. Without one this process ends: that is no failure of the cell."""
    try:
        sys.stdout.write(f"{MARK}{json.dumps(message)}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os._exit(1)


def follow(process: int) -> None:
    """Ends this process when `process` has ended, from a thread of its own."""
    born = leases.started(process)

    def watch() -> None:
        while born and leases.started(process) == born:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def program() -> None:
    root, cache, sweep = given(3)
    main(Path(root), Path(cache), sweep)


if __name__ == "__main__":
    command(program)
