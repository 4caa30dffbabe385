"""What every attack must come to: a result, or one sentence and status 2, soon, and no other trace.

Everything runs in this process. `attacked` runs a command line as a shell would, and `faults` says
what is wrong with how it ended.
"""

from __future__ import annotations

import faulthandler
import gc
import io
import os
import resource
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, TextIO
from unittest import mock

from hypothesis import HealthCheck, settings

from direct.common.errors import UserError, command

CASES = int(
    os.environ.get("DIRECT_FUZZ_CASES", "0")
)  # of all tests together; 0: those of make test
EVERY = 308  # cases of make test: the sum of all shares
SECONDS = 2.0  # of processor time, before a refusal
HANGS = 20.0  # seconds of processor time: it will not end by itself
WAITS = 120.0  # by the clock: it waits for what does not come
KILLS = 180.0  # by the clock: it hangs in C, where no signal is heard
NOTE = Path("build", f"fuzz-{os.getpid()}.txt").absolute()  # the case that is tried: its input
MEMORY = 2 << 30  # bytes, beyond what the process has
LONGEST = 6_000  # characters of a sentence: argparse shows a value as long as it is

# System calls that change something, as Python's audit hooks name them; where their paths are.
CHANGES = {
    "os.mkdir": 1,
    "os.rename": 2,
    "os.remove": 1,
    "os.rmdir": 1,
    "os.link": 2,
    "os.symlink": 2,
    "os.truncate": 1,
    "os.chmod": 1,
    "os.utime": 1,
}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
LEAVING = (
    "socket.connect",
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
)


class Hangs(BaseException):
    """A case does not end. No `Exception`: neither our code nor hypothesis may go on after it."""


class Accepted(BaseException):
    """The input was taken and the work would begin: raised in its place."""


@dataclass
class Outcome:
    """How an attack ended."""

    status: int | None = None  # None: it was a traceback
    out: str = ""
    err: str = ""
    seconds: float = 0.0
    outside: list[str] = field(default_factory=list)  # what it changed elsewhere


def cases(share: int) -> Callable[[Any], Callable[[], None]]:
    """Has hypothesis try `share` cases of a test in make test, always the same.

    In make fuzz it tries as large a part of `CASES`, other ones each time. A case that does not end
    is named with its input.
    """
    how = settings(
        max_examples=max(1, CASES * share // EVERY) if CASES else share,
        deadline=None,
        derandomize=not CASES,
        database=None,
        suppress_health_check=list(HealthCheck),
    )

    def decorate(test: Any) -> Callable[[], None]:
        case = test.hypothesis.inner_test

        def run() -> None:
            NOTE.parent.mkdir(exist_ok=True)
            with open(NOTE, "w") as note:
                test.hypothesis.inner_test = _watched(case, note)
                try:
                    how(test)()
                finally:
                    faulthandler.cancel_dump_traceback_later()
                    NOTE.unlink()

        return run

    return decorate


def _watched(case: Callable[..., None], note: TextIO) -> Callable[..., None]:
    """Ends a case that hangs. Work in C hears no signal: then the process ends and leaves `NOTE`.

    The time until the next case begins counts as well.
    """

    @wraps(case)
    def run(*given: Any, **named: Any) -> None:
        note.seek(0)
        note.truncate()
        note.write(f"{case.__module__}.{case.__qualname__} hangs on {(given, named)!r}\n")
        note.flush()
        faulthandler.dump_traceback_later(KILLS, exit=True, file=note)
        try:
            case(*given, **named)
        except Hangs as error:
            raise Hangs(f"{error}: {(given, named)!r:.{LONGEST}}") from error

    return run


def attacked(main: Callable[[], Any], arguments: Sequence[str], out: Path) -> Outcome:
    """A command line, as a shell runs it; all it may change is below `out`."""
    found = Outcome()
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors=e) for e in ERRORS]
    began = time.process_time()
    try:
        with (
            mock.patch.object(sys, "argv", ["program", *arguments]),
            mock.patch.object(tempfile, "tempdir", str(out)),
            # Where a module is imported for the first time, Python keeps its bytecode: no fault.
            mock.patch.object(sys, "dont_write_bytecode", True),
            redirect_stdout(streams[0]),
            redirect_stderr(streams[1]),
            _limited(),
            _seen(out, found.outside),
        ):
            command(main)
    except SystemExit as end:
        found.status = end.code if isinstance(end.code, int) else 2 if end.code else 0
    except Accepted:
        found.status = 0
    except Hangs:
        raise
    except BaseException:
        traceback.print_exc(file=streams[1])
    found.seconds = time.process_time() - began
    found.out, found.err = map(_text, streams)
    return found


ERRORS = ("strict", "backslashreplace")  # as Python's own standard streams have them


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode()  # type: ignore[attr-defined]


def faults(found: Outcome, also: Sequence[int] = ()) -> list[str]:
    """What is wrong with an outcome. also: statuses that say something of their own."""
    wrong = []
    if found.status not in (0, 2, *also):
        wrong.append(f"status {found.status}: {found.err[-2000:]}")
    if found.status == 2:
        wrong += sentence_faults(found.err)
    if found.status == 2 and found.seconds > SECONDS:
        wrong.append(f"{found.seconds:.1f} s of work before it was refused")
    if found.outside:
        wrong.append(f"changed outside of --out: {found.outside[:5]}")
    return wrong


def sentence_faults(text: str) -> list[str]:
    """What is wrong with what a person is told at status 2: it is one line, or argparse's usage."""
    said = text.removesuffix("\n")
    if said.startswith("usage: "):  # argparse's, which shows what was typed as it is
        said = " ".join(said[said.rindex("error: ") :].split())
    if said.count("error: ") < 1 or not said.startswith("error: "):
        return [f"no sentence: {said[-500:]!r}"]
    wrong = []
    if "\n" in said:
        wrong.append(f"more than a line: {said[:500]!r}")
    if len(said) > LONGEST:
        wrong.append(f"{len(said)} characters: {said[:200]!r}")
    if "Traceback" in text:
        wrong.append(f"a traceback: {text[-2000:]}")
    return wrong


def read(reader: Callable[[], Any], out: Path) -> Outcome:
    """A reader of files, as a command calls it: what it raises is told as `command` tells it."""

    def main() -> None:
        reader()

    return attacked(main, [], out)


@contextmanager
def _limited() -> Iterator[None]:
    """Ends what hangs, and has what asks for too much memory fail instead of being given it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))
    timers = (
        (signal.ITIMER_PROF, signal.SIGPROF, HANGS),
        (signal.ITIMER_REAL, signal.SIGALRM, WAITS),
    )
    before = [signal.signal(number, _hangs) for _, number, _ in timers]
    for timer, _, seconds in timers:
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for (timer, number, _), handler in zip(timers, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _hangs(*_: object) -> None:
    raise Hangs(f"no end within {HANGS:g} s of work or {WAITS:g} s of waiting")


_watch: tuple[Path, list[str], set[int]] | None = None  # a hook cannot be taken off: it looks here
_hooked = False


@contextmanager
def _seen(out: Path, outside: list[str]) -> Iterator[None]:
    """Notes in `outside` what the block changes that is not below `out`.

    What tests before it left is not the block's: threads that still run, and garbage whose end
    removes files, which stays until the block is over.
    """
    global _watch, _hooked
    if not _hooked:
        sys.addaudithook(_hook)
        _hooked = True
    others = set(sys._current_frames()) - {threading.get_ident()}
    gc.freeze()
    _watch = (Path(os.path.realpath(out)), outside, others)
    try:
        yield
    finally:
        _watch = None
        gc.unfreeze()


def _hook(event: str, given: tuple[Any, ...]) -> None:
    watch = _watch  # another thread may be here when it is taken away
    if watch is None or threading.get_ident() in watch[2]:
        return
    out, outside, _ = watch
    if event in LEAVING:
        outside.append(f"{event} {given!r:.80}")
        return
    if event == "open":
        paths = given[:1] if isinstance(given[2], int) and given[2] & WRITING else ()
    else:
        paths = given[: CHANGES.get(event, 0)]
    for path in paths:
        if isinstance(path, int) or os.fspath(path) == os.devnull:
            continue
        above, name = os.path.split(os.path.abspath(os.fsdecode(path)))
        place = Path(os.path.realpath(above), name)
        if place != out and out not in place.parents:
            outside.append(f"{event} {path!r:.120}")


__all__ = ["Accepted", "UserError", "attacked", "cases", "faults", "read"]
