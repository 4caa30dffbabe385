"""Making what a store lacks, with several processes, on one machine or on many.

Which keys form which shard is written to a plan beside the shards; whoever wants the same keys
works from it. A shard is claimed by locking its byte of the plan, made, written whole and marked
there. So the same command may run on every machine that shares the folder: none makes what another
one made or is making, and a killed one lets go of its claim and loses at most that shard.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import plugins
from ..common import spent
from ..common.errors import UserError
from ..common.files import canonical_json, digest, lock, parse_json, read_bounded, write_text
from ..common.progress import Progress, silent
from .store import Store, write_shard

Make = Callable[[list[Any]], Sequence[Tensor | str]]  # per item a tensor, or why there is none
Shard = tuple[int, list[str]]  # its place in the plan, its keys

SHARDS_PER_WORKER = 4  # fewer are done sooner than processes are started
TODO, DONE = b".", b"#"  # a shard's byte in the plan
LOCK = ".lock"  # of the folder, for whoever makes, reads or deletes a plan
POLL_SECONDS = 5.0  # before asking again for shards that another machine is making


def fill(
    store: Store,
    wanted: dict[str, Any],
    make: Make,
    size: int,
    stage: str,
    progress: Progress = silent,
    workers: int = 1,
) -> None:
    """Adds what `store` lacks of `wanted` {key: item}, in shards of `size`.

    With more than one worker, `make` and the items are pickled. Items that cannot be made are a
    `UserError`, raised once all others are in the store.
    """
    if not store.missing(wanted):
        return
    plan, shards = _plan(store, wanted, size)
    workers = workers if len(shards) > SHARDS_PER_WORKER * workers else 1
    work = partial(_work, store.folder, plan, make, stage)
    faults: dict[str, str] = {}
    left, done, total = list(enumerate(shards)), 0, sum(map(len, shards))
    while left:
        elsewhere = []
        jobs = [(number, {key: wanted[key] for key in keys}) for number, keys in left]
        for (number, items), found in _each(work, jobs, workers):
            if found is None:
                elsewhere.append((number, list(items)))
                continue
            faults |= found
            done += len(items)
            progress(stage, done, total)
        if left := elsewhere:
            time.sleep(POLL_SECONDS)
    _drop(plan, wanted)
    store.refresh()
    if absent := store.missing(wanted):
        reason = faults.get(absent[0], "another machine could not make it; run again to see why")
        raise UserError(
            f"{stage}: {len(absent)} of {len(wanted)} could not be made, all others are kept in "
            f"{store.folder}; the first: {reason}"
        )


def _plan(store: Store, wanted: dict[str, Any], size: int) -> tuple[Path, list[list[str]]]:
    """The plan's file and its shards; made from what is missing unless one is being worked on.

    The file's name has the shards' digest: a number is of the same shard to all who know the file.
    """
    name = f".{digest(sorted(wanted))}"
    with lock(store.folder / LOCK):
        for path in sorted(store.folder.glob(f"{name}*.plan")):
            if (shards := _open(path, wanted)) is not None:
                return path, shards
            path.unlink()
        store.refresh()  # another process may just have made them
        missing = store.missing(wanted)
        shards = [missing[start : start + size] for start in range(0, len(missing), size)]
        path = store.folder / f"{name}-{digest(shards)}.plan"
        write_text(path, TODO.decode() * len(shards) + "\n" + canonical_json(shards))
        return path, shards


def _drop(plan: Path, wanted: dict[str, Any]) -> None:
    """Deletes a plan that is done, and no new one of the same shards."""
    with lock(plan.parent / LOCK):  # nobody is reading it
        if _open(plan, wanted) is None:
            plan.unlink(missing_ok=True)


def _open(path: Path, wanted: dict[str, Any]) -> list[list[str]] | None:
    """The shards of a plan that is worked on; `None` where it is absent, done or damaged."""
    with suppress(FileNotFoundError, ValueError, TypeError):
        marks, _, rest = read_bounded(path).partition(b"\n")
        shards: list[list[str]] = parse_json(rest)
        known = all(key in wanted for keys in shards for key in keys)
        if TODO in marks and known and len(marks) == len(shards):
            return shards
    return None


def _work(
    folder: Path, plan: Path, make: Make, stage: str, job: tuple[int, dict[str, Any]]
) -> dict[str, str] | None:
    """Makes one shard; returns why items could not be made, `None` if someone else is at it."""
    number, items = job
    try:
        handle = open(plan, "r+b", buffering=0)  # noqa: SIM115
    except FileNotFoundError:
        return {}  # another machine has just finished the plan
    with handle:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except OSError:
            return None
        if os.pread(handle.fileno(), 1, number) == DONE:
            return {}
        with spent.noted(folder, stage, len(items)):
            made = dict(zip(items, make(list(items.values())), strict=True))
        tensors = {key: value for key, value in made.items() if isinstance(value, Tensor)}
        if tensors:
            write_shard(folder, tensors)
        os.pwrite(handle.fileno(), DONE, number)
        return {key: value for key, value in made.items() if isinstance(value, str)}


def _each(work: Callable[[Any], Any], jobs: list[Any], workers: int) -> Iterator[tuple[Any, Any]]:
    """(job, what `work` made of it), as they end."""
    if workers == 1:
        yield from ((job, work(job)) for job in jobs)
        return
    context = get_context("spawn")
    begin = (os.getpid(), context.Value("i", 0), plugins.loaded())
    with ProcessPoolExecutor(workers, context, _begin, begin) as pool:
        pending = {pool.submit(work, job): job for job in jobs}
        try:
            for future in as_completed(pending):
                yield pending[future], future.result()
        except BrokenProcessPool:
            raise UserError(
                "a worker was killed, perhaps for lack of memory; finished work is kept, run the "
                "same command with fewer --workers to resume"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(parent: int, started: Any, files: Sequence[Path]) -> None:
    """In a new worker: its own GPU, where there are several, plug-ins, an end with its parent."""
    for path in files:
        plugins.load(path)
    with started.get_lock():
        number, started.value = started.value, started.value + 1
    if torch.cuda.is_available():
        torch.cuda.set_device(number % torch.cuda.device_count())

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
