"""A worker process: claims cells from the study until none waits. Started by `pool`.

Lines of standard output that begin with MARK are messages for the parent (JSON); all others are for
the person who watches, and the parent passes them on. A worker dies with its parent. At SIGTERM or
SIGUSR1 it saves what its cell has, puts the cell back into the queue and ends.
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
from typing import Any, NamedTuple

from direct.common import preempt
from direct.common.errors import UserError, command
from direct.common.files import write_json
from direct.config import Run

from ..cell import begin, read_config, read_json, read_result, run_cell
from ..stages import REAL, Stages
from . import leases
from . import study as queue
from .storage import VARIABLE, open_study, patient
from .workers import GPUS, on_several

MARK = "\x1e"


class Place(NamedTuple):
    """Where a claimed cell is worked on, and the lease that it is worked on under."""

    cache: Path
    folder: Path
    token: str


def main(root: Path, cache: Path, name: str, stages: Stages = REAL) -> None:
    """Drains the study `name` of the run folders below `root`."""
    preempt.listen(signal.SIGTERM, signal.SIGUSR1)
    follow(os.getppid())
    study = patient(open_study)(root, name, os.environ.get(VARIABLE))
    while not preempt.requested() and (trial := queue.claim(study)):
        run = root / trial.user_attrs["cell"]
        token = leases.take(run)
        if token is None:  # another sweep shares this cell and works on it: the planner waits
            queue.fail(study, trial)
            continue
        send(event="start", cell=run.name)
        try:
            with leases.touched(run):
                _work(study, trial, Place(cache, run, token), stages)
        finally:
            leases.drop(run, token)


def _work(study: Any, trial: Any, place: Place, stages: Stages) -> None:
    """Attempts the cell, then tells the study what its folder says.

    An error of the cell is on the disk before it is told, or the planner would try again at once;
    one in telling ends the worker, and costs nothing: the planner reads folders.
    """
    run = place.folder
    with suppress(UserError):  # a damaged folder: the attempt itself says so
        begin(run, stages)
    gpus = int(os.environ.get(GPUS, "1"))
    if gpus > 1:
        stopped = on_several(gpus, stages.rank, *place)
    else:
        stopped = attempt(*place, stages)
    if result := read_result(run):
        queue.attach(trial, run)
        queue.finish(study, trial, result)
        send(event="done", cell=run.name, status=result["status"])
    elif stopped:
        queue.give_back(study, trial)
        send(event="stopped", cell=run.name)
    elif read_json(run / "failure.json"):
        queue.fail(study, trial)
        send(event="failed", cell=run.name)
    else:
        send(event="say", text=f"{run.name}: another worker has taken over; its result counts")


def attempt(cache: Path, folder: Path, token: str, stages: Stages = REAL) -> bool:
    """Runs the cell in this process; its folder then holds `result.json` or `failure.json`.

    True if it was asked to stop, false with neither file if its lease was lost.
    """

    def progress(stage: str, done: int, total: int) -> None:
        send(event="progress", cell=folder.name, stage=stage, done=done, total=total)
        if stage != "train":  # which looks for itself, and saves first
            preempt.check()

    try:
        run = Run(read_config(folder), cache, folder, progress=progress)
        run_cell(run, stages, lambda: leases.holds(folder, token))
    except preempt.Preempted:
        return True
    except Exception as error:
        write_json(folder / "failure.json", {"reason": _reason(error)})
    return False


def _reason(error: Exception) -> str:
    if isinstance(error, UserError):
        return str(error)
    traceback.print_exc()  # into the workers' log
    return f"{type(error).__name__}: {error}"


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


if __name__ == "__main__":
    command(lambda: main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
