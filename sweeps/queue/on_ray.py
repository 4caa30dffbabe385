"""Workers as tasks of Ray: one task a waiting cell, on any node of a cluster.

A task asks for its cell's processors and GPUs, so an autoscaler sees what is missing. It runs the
worker program for one cell and hands on the lines that it prints. Ray repeats no task itself
(`max_retries=0`): a cell of a lost node waits again when the planner has freed its lease, and gets
a new task then. A task that Ray repeated at once would hold its GPUs until that.

The cluster is the one of $RAY_ADDRESS, else one that runs here, else one that is started here.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import count
from typing import Any

from direct.common.errors import UserError

from .sweep import Ended, Sweep
from .workers import GPUS, ONE_CELL, SAVE_SECONDS, cell_threads, command, log, threads

ADDRESS = "RAY_ADDRESS"  # Ray's own
CONNECT_SECONDS = 5


def check() -> None:
    """Raises the `UserError` of a Ray that is not installed, or a cluster that does not answer."""
    found = find_spec("ray")
    if found is None or found.origin is None:  # a folder of that name is no package
        raise UserError("--launcher ray needs Ray; install it with: pip install '.[ray]'")
    address = os.environ.get(ADDRESS, "auto")
    if address in ("", "auto", "local"):
        return
    host, _, port = address.rpartition(":")
    if "//" in host or not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise UserError(
            f"{ADDRESS}={address} is not host:port; on a machine of the cluster give its head's, "
            "as 10.0.0.1:6379, and from elsewhere start this with: ray job submit"
        )
    try:  # Ray itself would try for two minutes
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:  # ValueError: of a name that no host can have
        raise _unusable(error) from None


class Tasks:
    """A `Launcher`. Tasks are numbered as they are started."""

    def __init__(self, sweep: Sweep, say: Callable[[str], None]):
        self.interrupted = False
        signal.signal(signal.SIGINT, self._interrupt)
        signal.signal(signal.SIGTERM, self._interrupt)
        self.ray, self.sweep = _connected(), sweep
        self.numbers = count()
        self.tasks: dict[int, Any] = {}
        wanted = {"CPU": cell_threads(sweep), "GPU": sweep.workers.gpus}
        if not any(_has(node, wanted) for node in self.ray.nodes()):
            words = " and ".join(f"{n} {kind}" for kind, n in wanted.items() if n)
            say(f"no node of the Ray cluster has {words}; cells wait until one joins it")
        self.task = self.ray.remote(
            num_cpus=wanted["CPU"],
            num_gpus=wanted["GPU"],
            max_retries=0,
            num_returns="streaming",
            name=f"a cell of {sweep.table.name}",
        )(work)

    def start(self) -> int:
        number, gpus = next(self.numbers), self.sweep.workers.gpus
        own = {GPUS: str(gpus)} if gpus else {}  # which ones, Ray says in CUDA_VISIBLE_DEVICES
        environment = threads(self.sweep) | own | {ONE_CELL: "1"}
        self.tasks[number] = self.task.remote(
            command(self.sweep), environment, os.getcwd(), str(log(self.sweep))
        )
        return number

    def _interrupt(self, *_: Any) -> None:
        """Ctrl-C, noted as well: raised within a callback of Ray's it is swallowed."""
        self.interrupted = True
        raise KeyboardInterrupt

    def hear(self, seconds: float) -> list[tuple[int, str | Ended]]:
        if self.interrupted:
            self.interrupted = False
            raise KeyboardInterrupt
        if not self.tasks:
            time.sleep(seconds)
            return []
        numbers = {task: number for number, task in self.tasks.items()}
        ready, _ = self.ray.wait([*numbers], timeout=seconds, fetch_local=False)
        if ready:  # and all others that are
            ready, _ = self.ray.wait(
                [*numbers], num_returns=len(numbers), timeout=0, fetch_local=False
            )
        return [(numbers[task], self._next(numbers[task], task)) for task in ready]

    def _next(self, number: int, task: Any) -> str | Ended:
        """What a task that is ready has to say."""
        try:
            said: str | int = self.ray.get(next(task))
        except (self.ray.exceptions.RayError, StopIteration) as error:
            said_last = _told(self.ray.exceptions, error)
        else:
            if isinstance(said, str):
                return said
            said_last = Ended(f"with status {said}" if said else "")
        del self.tasks[number]
        return said_last

    def stop(self, seconds: float) -> None:
        until, self.interrupted = time.monotonic() + seconds, False
        # Not by `hear`: of a task that is cancelled, `next` waits until it has ended.
        tasks = {task.completed(): task for task in self.tasks.values()}
        left = [*tasks]
        try:
            for task in self.tasks.values():
                self.ray.cancel(task)  # KeyboardInterrupt in `work`
            while left and not self.interrupted and (rest := until - time.monotonic()) > 0:
                _, left = self.ray.wait(
                    left, num_returns=len(left), timeout=min(rest, 0.5), fetch_local=False
                )
        except KeyboardInterrupt:
            pass
        for ended in left:  # no others: Ray aborts where a task ends while it is forced to
            self.ray.cancel(tasks[ended], force=True)
        self.tasks.clear()


def _has(node: dict[str, Any], wanted: dict[str, int]) -> bool:
    return node["Alive"] and all(node["Resources"].get(k, 0) >= n for k, n in wanted.items())


def _connected() -> Any:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # of a cluster that is started here
    import ray

    if ray.is_initialized():
        return ray
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise _unusable(error) from error
    for number, handler in handlers.items():  # Ray's would end this process without a stop
        signal.signal(number, handler)
    return ray


def _unusable(error: Exception) -> UserError:
    place, reason = os.environ.get(ADDRESS, "of this machine"), " ".join(str(error).split())
    return UserError(
        f"the Ray cluster {place} cannot be used ({reason[:300]}); start it, or set "
        f"{ADDRESS}=local for one that is started here"
    )


def work(
    command: list[str], environment: dict[str, str], folder: str, log: str
) -> Iterator[str | int]:
    """A task: the lines of one worker as it prints them, then its exit status."""
    # Ray cancels by this signal, which is ignored where a node was started in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with open(log, "a") as errors:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            bufsize=0,
            env=os.environ | environment,
            cwd=folder if os.path.isdir(folder) else None,
        )
    try:
        assert process.stdout
        yield from _lines(process.stdout.fileno())
        yield process.wait()
    finally:  # cancelled: it saves its cell first
        process.terminate()
        process.wait(SAVE_SECONDS)


def _lines(pipe: int) -> Iterator[str]:
    """The lines that come out of a pipe until its end.

    It looks twice a second: Ray's interrupt is seen between two lines of Python, and ends no read.
    """
    poll, rest = select.poll(), b""
    poll.register(pipe)
    while True:
        if not poll.poll(500):
            continue
        data = os.read(pipe, 1 << 16)
        *whole, rest = (rest + data).split(b"\n")
        yield from (line.decode(errors="replace") for line in whole)
        if not data:
            break
    if rest:
        yield rest.decode(errors="replace")


def _told(kinds: Any, error: Exception) -> Ended:
    """What Ray says of a task that gave no status."""
    if isinstance(error, kinds.NodeDiedError):
        return Ended("with its node", lost=True)
    if isinstance(error, kinds.WorkerCrashedError):
        return Ended("with its Ray process", lost=True)
    if isinstance(error, StopIteration | kinds.TaskCancelledError):
        return Ended("")
    return Ended(f"as Ray says: {(str(error).strip().splitlines() or [''])[-1][:300]}")
