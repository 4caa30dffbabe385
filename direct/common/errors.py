"""One sentence for a person: what was wrong, where, and how to fix it."""

from __future__ import annotations

import atexit
import difflib
import errno
import os
import sys
from collections.abc import Callable, Iterable
from typing import NoReturn

from .preempt import Preempted
from .text import plain


class UserError(ValueError):
    """Bad input. The message names the value, the place and the fix, in one sentence."""


LONGEST = 1_000  # characters of a sentence; a value from a file may have any number

FIXES = {  # of what the operating system refuses, by its error number
    errno.EACCES: "give a path that you may use, or change its permissions",
    errno.EPERM: "give a path that you may use, or change its permissions",
    errno.EROFS: "give a path that may be written",
    errno.ENOTDIR: "a file stands where a folder is needed; move it away or give another path",
    errno.EEXIST: "something else stands there; move it away or give another path",
    errno.ENOTEMPTY: "something else stands there; move it away or give another path",
    errno.ENXIO: "a socket or a pipe stands there; move it away or give another path",
    errno.EBUSY: "something uses it; end that or give another path",
    errno.EISDIR: "a folder stands where a file is needed; move it away or give another path",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ELOOP: "a link stands there that is not followed; remove it or give another path",
    errno.ENOENT: "check the path",
    errno.EINVAL: "move it away or give a regular file",
    errno.EFBIG: "give a smaller file",
    errno.ENOSPC: "free some space and run again",
    errno.EDQUOT: "free some space and run again",
    errno.EIO: "the disk does not answer; run again when it does",
    errno.ESTALE: "the disk does not answer; run again when it does",
}


def nearest(word: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """`"; did you mean a, b?"`, or the whole list where nothing is close: below `cutoff` of 1."""
    known = sorted(known)
    alike = [name for name in known if name.lower() == word.lower()]
    close = alike or difflib.get_close_matches(word, known, n=3, cutoff=cutoff)
    return f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known)}"


def no_space(error: BaseException | None) -> bool:
    """Whether a full disk, or a full quota, is behind an error, however it was told since."""
    while error is not None:
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        if full or "No space left" in str(error):  # safetensors has an exception of its own
            return True
        error = error.__cause__ or error.__context__
    return False


def command(main: Callable[[], int | None]) -> NoReturn:
    """Runs a command line: `UserError` becomes one line on stderr and exit status 2.

    `Preempted` becomes exit status 75, by which a job script knows to queue itself again.
    """
    status = _status(main)
    if "WORLD_SIZE" in os.environ:  # torchrun's
        _leave(status)
    sys.exit(status)


def _status(main: Callable[[], int | None]) -> int:
    try:
        _check_arguments(sys.argv[1:])
        return main() or 0
    except UserError as error:
        print(f"error: {_told(str(error))}", file=sys.stderr)
        return 2
    except Preempted as stop:
        print(f"stopped: {stop}", file=sys.stderr)
        return 75  # EX_TEMPFAIL
    except BrokenPipeError:  # who read our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that the last flush says nothing
        return 141  # 128 + SIGPIPE
    except OSError as error:  # of a path that the person gave, or that lies below it
        # Of a rename, the place that was wanted: the other is a temporary name of ours.
        place = error.filename2 or error.filename or ("the disk" if no_space(error) else None)
        if place is None or error.errno not in FIXES:
            raise
        said = f"{place}: {error.strerror}; {FIXES[error.errno]}"
        print(f"error: {_told(said)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "interrupted; what is finished is kept; run the same command again to resume",
            file=sys.stderr,
        )
        return 130


def _check_arguments(arguments: Iterable[str]) -> None:
    """Python 3.11's argparse loses a value that is `--`, and gives an empty list instead."""
    for argument in arguments:
        if argument.startswith("--") and argument.endswith("=--"):
            raise UserError(f"{argument}: -- is no value; give another")


def _told(text: str) -> str:
    """A sentence as a terminal shows it: without control characters, and not for pages."""
    text = plain(text)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."


def _leave(status: int) -> NoReturn:
    """Ends a rank without Python's finalization.

    DeepSpeed holds process groups beyond their end, and with them gloo's threads. One that lets go
    of a tensor while Python finalizes aborts the process, its work done (pytorch/pytorch#190489),
    and torchrun then ends the other ranks.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class Diverged(RuntimeError):
    """Training met `PATIENCE` non-finite steps in a row. A result of the cell, not a failure."""

    def __init__(self, step: int, reason: str) -> None:
        super().__init__(f"diverged at step {step}: {reason}")
        self.step, self.reason = step, reason
