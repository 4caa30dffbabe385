"""A process that decodes files of unknown health: they can bring a process down, or hang it."""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from ..common.errors import UserError
from .decode import Unreadable, av

CHILD_MEMORY = 16 << 30  # bytes of address space: an endless allocation ends the child, not us


class Child:
    """Runs functions for us, one at a time; started anew after a crash or a hang."""

    def __init__(self) -> None:
        self._process: Any = None
        self._pipe: Any = None

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *fault: object) -> None:
        self._end()

    def call(self, function: Callable[..., Any], *arguments: Any, seconds: float) -> Any:
        """`function(*arguments)`; what it raises, a crash or running too long is `Unreadable`.

        All of it is passing, except an `Unreadable` of the function's own that is not.
        """
        try:
            if self._process is None:
                self._start(function)
            self._pipe.send((function, arguments))
            if not self._pipe.poll(seconds):
                self._end()
                raise Unreadable(f"decoding took more than {seconds:g} s", passing=True)
            fault, value = self._pipe.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            status = self._process.exitcode
            self._end()
            raise Unreadable(f"the decoder died (exit status {status})", passing=True) from None
        if fault is not None:
            raise Unreadable(*fault)
        return value

    def _start(self, function: Callable[..., Any]) -> None:
        context = multiprocessing.get_context("spawn")  # a fork may inherit another thread's lock
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other,), daemon=True)
        self._process.start()
        other.close()
        self._pipe.send(function)
        self._pipe.recv()  # all is imported: from here on the clock measures decoding alone

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
        self._process = self._pipe = None


def _serve(pipe: Connection) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = CHILD_MEMORY if hard == resource.RLIM_INFINITY else min(CHILD_MEMORY, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    pipe.recv()  # imports the module of what will be called
    with suppress(UserError):  # as it is said where it is needed
        av()
    pipe.send("up")
    while True:
        try:
            function, arguments = pipe.recv()
        except EOFError:
            return  # the parent has gone
        try:
            pipe.send((None, function(*arguments)))
        except Exception as error:
            passing = not isinstance(error, Unreadable) or error.passing
            pipe.send(((str(error) or type(error).__name__, passing), None))
