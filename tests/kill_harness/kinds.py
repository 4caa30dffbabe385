"""The faults: what is done to a running sweep. Each returns whether it could be done."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from sweeps.cell import read_json

from .running import LEASE, OTHER, Attacked, children

Kind = Callable[[Attacked, random.Random], bool]


def worker(sweep: Attacked, rng: random.Random) -> bool:
    """`kill -9` of one worker."""
    workers = sweep.workers()
    if workers:
        with suppress(ProcessLookupError):
            os.kill(rng.choice(workers), signal.SIGKILL)
    return bool(workers)


def planner(sweep: Attacked, rng: random.Random) -> bool:
    """`kill -9` of the planner."""
    sweep.kill()
    return True


def both(sweep: Attacked, rng: random.Random) -> bool:
    """`kill -9` of a worker and, at once, of the planner."""
    return worker(sweep, rng) and planner(sweep, rng)


def disk(sweep: Attacked, rng: random.Random) -> bool:
    """The disk fills up to its last byte, and is freed again."""
    filler = sweep.out / "filler"
    with open(filler, "wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
    time.sleep(1 + 3 * rng.random())
    filler.unlink()
    return True


def stop(sweep: Attacked, rng: random.Random) -> bool:
    """Another host freezes for longer than its lease, and goes on when others have its cell."""
    held = held_elsewhere(sweep)
    if not held or not sweep.helper:
        return False
    frozen = [sweep.helper.pid, *children(sweep.helper.pid)]
    _signal(frozen, signal.SIGSTOP)
    until = time.monotonic() + 10 * LEASE
    while held.items() <= held_elsewhere(sweep).items() and time.monotonic() < until:
        if not sweep.running():
            break
        time.sleep(0.05)
    taken = not held.items() <= held_elsewhere(sweep).items()
    time.sleep(3 * rng.random())  # others work on its cell, or have ended it
    _signal(frozen, signal.SIGCONT)
    return taken


def held_elsewhere(sweep: Attacked) -> dict[str, str]:
    """Cells that the other host holds, and by which token."""
    found = {path: read_json(path) or {} for path in sweep.out.glob("runs/*/*/lease.json")}
    return {str(path): x["token"] for path, x in found.items() if x.get("host") == OTHER}


def _signal(processes: list[int], number: signal.Signals) -> None:
    for pid in processes:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def clock(sweep: Attacked, rng: random.Random) -> bool:
    """The date jumps by up to a year, of this host and of the file server."""
    sweep.clock.jump(rng.choice([-1, 1]) * rng.choice([60, 3_600, 86_400, 31_536_000]))
    then = time.time() + rng.choice([-1, 1]) * 86_400
    for lease in sweep.out.glob("runs/*/*/lease.json"):
        with suppress(FileNotFoundError):
            os.utime(lease, (then, then))
    return True


def cache(sweep: Attacked, rng: random.Random) -> bool:
    """Somebody deletes the cache."""
    shutil.rmtree(sweep.out / "cache", ignore_errors=True)
    return True


def server(sweep: Attacked, rng: random.Random) -> bool:
    """`kill -9` of the PostgreSQL server, which is started again after a while."""
    if sweep.server is None or sweep.url is None:
        return False
    sweep.server.kill()
    time.sleep(3 * rng.random())
    sweep.server.start()
    return True


KINDS: dict[str, Kind] = {
    kind.__name__: kind for kind in (worker, planner, both, disk, stop, clock, cache, server)
}
