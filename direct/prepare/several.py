"""One list of work for several servers that may be slow or die: each has one job at a time.

A server that fails gives its job back and gets no other; an idle one takes over what is slow
elsewhere, and the first of the two results counts. So every job is done once, by whoever is there.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

from ..common.errors import UserError

RESUME = "finished work is kept, run the same command again to resume"

Work = Callable[[Any, Any], Any]  # (job, server) -> result

_Told = tuple[str, int, Any]  # a server's name; the job's place and its result, or -1 and the error


@dataclass
class _Jobs:
    """Which jobs wait, and by how many servers each of the others is being worked on."""

    waiting: list[int]
    busy: dict[int, int] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def take(self) -> int | None:
        """The next job, or else one that fewest work on; None once all are done."""
        with self.changed:
            while True:
                if self.waiting:
                    job = self.waiting.pop(0)
                elif alone := [job for job, servers in self.busy.items() if servers == 1]:
                    job = alone[0]
                elif self.busy:
                    self.changed.wait()  # each has two servers, one of which may fail
                    continue
                else:
                    return None
                self.busy[job] = self.busy.get(job, 0) + 1
                return job

    def done(self, job: int) -> bool:
        """Whether it was not done before."""
        with self.changed:
            self.changed.notify_all()
            return self.busy.pop(job, None) is not None

    def failed(self, job: int) -> None:
        with self.changed:
            if job in self.busy:
                self.busy[job] -= 1
                if not self.busy[job]:
                    del self.busy[job]
                    self.waiting.insert(0, job)
            self.changed.notify_all()


def shared_out(jobs: Sequence[Any], servers: Mapping[str, Any], work: Work) -> Iterator[Any]:
    """The result of each job, as they end; `servers` by the names that errors give them.

    `work` runs in a thread per server; with a single one it runs in this thread, in order. A server
    whose work raises `UserError` is told of on stderr and not asked again; a `UserError` once no
    server is left.
    """
    if len(servers) == 1:
        (server,) = servers.values()
        yield from (work(job, server) for job in jobs)
        return
    left, told = _Jobs(list(range(len(jobs)))), SimpleQueue[_Told]()
    for name, server in servers.items():
        arguments = (name, server, jobs, work, left, told)
        threading.Thread(target=_serve, args=arguments, daemon=True).start()  # may hang for minutes
    lost: dict[str, str] = {}
    for _ in jobs:
        yield _next(told, lost, list(servers))


def _next(told: SimpleQueue[_Told], lost: dict[str, str], servers: Sequence[str]) -> Any:
    """The next result; what servers fail with by then is noted in `lost`."""
    while True:
        name, job, found = told.get()
        if job >= 0:
            return found
        if not isinstance(found, UserError):
            raise found
        lost[name] = str(found).removesuffix(f"; {RESUME}")
        left = len(servers) - len(lost)
        if not left:
            reasons = "; ".join(lost.values())
            raise UserError(f"none of the {len(servers)} servers is left; {RESUME}; {reasons}")
        print(f"\n{lost[name]}; {left} of {len(servers)} servers go on", file=sys.stderr)


def _serve(
    name: str,
    server: Any,
    jobs: Sequence[Any],
    work: Work,
    left: _Jobs,
    told: SimpleQueue[_Told],
) -> None:
    """One server's thread: job after job, until none is left or the server fails."""
    while (job := left.take()) is not None:
        try:
            found = work(jobs[job], server)
        except Exception as error:
            left.failed(job)
            told.put((name, -1, error))
            return
        if left.done(job):
            told.put((name, job, found))
