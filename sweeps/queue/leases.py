"""Who works on a cell: a lease file in its run folder, with a token that fences late writers.

No storage here has a heartbeat that helps (a journal has none; a database's fails a trial only when
another one starts), so the run folder, which every worker sees, holds the lease. On the holder's
host its process is looked up; elsewhere the lease's age counts, by the shared file system's clock.
A slow worker that was presumed dead has lost its lease; its result is discarded.
"""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from direct.common.files import canonical_json, give_name

from ..cell import read_json

LEASE_SECONDS = 150.0  # without a touch, on another host
TOUCH_SECONDS = 15.0
NAME = "lease.json"


def take(run: Path) -> str | None:
    """Makes this process the cell's worker: its token, or `None` while another one holds it."""
    run.mkdir(parents=True, exist_ok=True)
    token = uuid.uuid4().hex
    temporary = run / f".lease.{token}"
    owner = {
        "host": _host(),
        "pid": os.getpid(),
        "started": started(os.getpid()),
        "token": token,
    }
    try:
        temporary.write_text(canonical_json(owner))
        return token if give_name(temporary, run / NAME) else None
    finally:
        temporary.unlink(missing_ok=True)


def holds(run: Path, token: str) -> bool:
    return (read_json(run / NAME) or {}).get("token") == token


def drop(run: Path, token: str) -> None:
    if holds(run, token):
        revoke(run)


def revoke(run: Path) -> None:
    """Takes the lease from whoever holds it."""
    (run / NAME).unlink(missing_ok=True)


@contextmanager
def touched(run: Path, token: str) -> Iterator[None]:
    """Keeps the lease young while the block works, and as long as it is this token's."""
    stop = threading.Event()
    threading.Thread(target=_touch, args=(run, token, stop), daemon=True).start()
    try:
        yield
    finally:
        stop.set()


def _touch(run: Path, token: str, stop: threading.Event) -> None:
    while not stop.wait(TOUCH_SECONDS):
        with suppress(OSError):  # a disk that does not answer may do so before the lease ends
            if holds(run, token):  # who has taken over may be dead by now
                os.utime(run / NAME)  # the file server's own clock


def live(run: Path) -> bool:
    """Whether someone works on the cell."""
    try:
        touched_at = (run / NAME).stat().st_mtime
    except FileNotFoundError:
        return False
    owner = read_json(run / NAME) or {}
    if owner.get("host") == _host():  # no clock in this: it may jump
        pid, since = owner.get("pid"), owner.get("started")
        if type(pid) is not int or not 0 < pid < 1 << 31 or since is None:
            return False
        return started(pid) == since
    return abs(_now(run) - touched_at) < LEASE_SECONDS  # far ahead: the shared clock was set back


def _host() -> str:
    """Where process numbers mean the same: containers of one machine may share its name."""
    space = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()} {os.readlink(space) if space.exists() else ''}"


def _now(run: Path) -> float:
    """The time by the clock that stamps leases; this host's may be another, or jump."""
    probe = run / f".now.{uuid.uuid4().hex}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def started(pid: int) -> str | None:
    """Start time of a live process, which tells it from a later one of the same number."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return None if fields[0] in "ZX" else fields[19]  # a zombie works no more
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    try:  # no /proc (macOS): only that it is alive
        os.kill(pid, 0)
        return "alive"
    except ProcessLookupError:
        return None
    except PermissionError:
        return "alive"
