"""A worker process: claims cells from the study until none waits. Started by `sweeps.pool`.

Lines of standard output that begin with MARK are messages for the parent (JSON); all others are for
the person who watches, and the parent passes them on. A worker dies with its parent.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from direct.errors import UserError
from direct.files import write_json

from . import study as queue
from .cell import read_config, run_cell

MARK = "\x1e"
HEARTBEAT_SECONDS = 15.0


def main(root: Path, cache: Path, name: str) -> None:
    """Drains the study `name` of the run folders below `root`."""
    threading.Thread(target=_follow_parent, args=(os.getppid(),), daemon=True).start()
    study = queue.open_study(root, name)
    while trial := queue.claim(study):
        run = root / trial.user_attrs["cell"]
        token = queue.take_lease(run)
        if token is None:  # another sweep shares this cell and works on it: the planner waits
            queue.fail(study, trial)
            continue
        send(event="start", cell=run.name)
        try:
            _work(study, trial, cache, run, token)
        except Exception as error:
            # The reason is on the disk before the trial is told, or the planner would retry at
            # once. Where even that cannot be written, the worker ends and is counted as dead.
            write_json(run / "failure.json", {"reason": _reason(error)})
            queue.fail(study, trial)
            send(event="failed", cell=run.name)
        finally:
            queue.drop_lease(run, token)


def _work(study: Any, trial: Any, cache: Path, run: Path, token: str) -> None:
    stop = threading.Event()
    threading.Thread(target=_touch, args=(run / "lease.json", stop), daemon=True).start()
    try:
        result = run_cell(read_config(run), cache, run,
                          lambda stage, done, total: send(event="progress", cell=run.name,
                                                          stage=stage, done=done, total=total),
                          lambda: queue.holds_lease(run, token))
    finally:
        stop.set()
    if result is None:
        send(event="say", text=f"{run.name}: another worker has taken over; its result counts")
        return
    queue.finish(study, trial, result)
    send(event="done", cell=run.name, status=result["status"])


def _reason(error: Exception) -> str:
    if isinstance(error, UserError):
        return str(error)
    traceback.print_exc()  # into the workers' log
    return f"{type(error).__name__}: {error}"


def send(**message: Any) -> None:
    """One message to the parent."""
    sys.stdout.write(f"{MARK}{json.dumps(message)}\n")
    sys.stdout.flush()


def _touch(lease: Path, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_SECONDS):
        try:
            os.utime(lease)
        except FileNotFoundError:
            return


def _follow_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
