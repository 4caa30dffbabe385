"""Where a sweep's study lives: a journal file beside the run folders, or a PostgreSQL server.

Both hand a waiting trial to exactly one worker. SQLite does not (Optuna's own documentation: never
for parallel work), so it is refused. Neither is the source of truth: a study that is lost is built
anew from the run folders.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from urllib.parse import parse_qsl, urlsplit

from direct.common import preempt
from direct.common.errors import UserError, no_space
from direct.common.files import parse_json, write_bytes, write_text
from direct.common.text import plain

if TYPE_CHECKING:
    import optuna

VARIABLE = "SWEEPS_STORAGE"  # how workers get the URL: a command line is seen by everyone
LOCK_GRACE_SECONDS = 10  # of a journal lock that a killed process left
CONNECT_SECONDS = 10
PATIENCE_SECONDS = 120.0  # a server that restarts in the middle of a sweep is waited for
RETRY_SECONDS = 2.0

P = ParamSpec("P")
T = TypeVar("T")


def open_study(root: Path, name: str, url: str | None = None) -> optuna.Study:
    """The study of sweep `name` over the run folders below `root`, created if it is not there.

    `url`: postgresql://...; `None`: the journal. A server that does not answer is a `UserError`.
    """
    import optuna

    optuna.logging.set_verbosity(logging.WARNING)
    # One server may hold the studies of many run folders.
    full = name if url is None else f"{name} {root.name} {_identity(root)}"
    with _answering(url):
        storage = _journal_storage(root) if url is None else _database(url)
        return optuna.create_study(
            study_name=full,
            storage=storage,
            direction="maximize",
            load_if_exists=True,
            sampler=optuna.samplers.RandomSampler(seed=0),  # never asked: see `study.claim`
        )


# A journal ----------------------------------------------------------------------------------------


def journal(root: Path) -> Path:
    return Path(os.path.abspath(root / "study.journal"))  # Optuna's locks hang on relative paths


def _journal_storage(root: Path) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    path = journal(root)
    return JournalStorage(JournalFileBackend(str(path), lock_obj=_lock(path)))


def _lock(path: Path) -> Any:
    from optuna.storages.journal import JournalFileOpenLock

    return JournalFileOpenLock(str(path), grace_period=LOCK_GRACE_SECONDS)


def repair(path: Path) -> str | None:
    """Cuts a torn last line off the journal, keeping a copy; sets an unreadable one aside.

    Call it under `study.planner`. Returns what was done, for a person.
    """
    said = _remove_stale_lock(path.with_name(path.name + ".lock"))
    if not path.exists():
        return said
    if not path.is_file():  # a pipe would be waited for
        raise UserError(f"{path} is no regular file; move it away and run again")
    lock = _lock(path)
    lock.acquire()  # what is torn now was not just being written
    try:
        return _repair_lines(path) or said
    finally:
        lock.release()


def _repair_lines(path: Path) -> str | None:
    if not _replays(path):
        _check_room(path)  # a full disk tears lines, and room must be made before the journal is
        os.replace(path, path.with_name(path.name + ".damaged"))
        return f"{path} is damaged; set aside and rebuilt from the results"
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    *before, last = whole.splitlines(keepends=True) or [b"{}"]
    if not _is_json(last):  # Optuna minds it only once another line follows
        whole = b"".join(before)
    if whole == data:
        return None
    shutil.copyfile(path, path.with_name(path.name + ".bak"))
    with open(path, "rb+") as handle:
        handle.truncate(len(whole))
        os.fsync(handle.fileno())
    return f"{path} ended in a torn line; cut off (copy in {path.name}.bak)"


def _is_json(line: bytes) -> bool:
    try:
        parse_json(line)
    except ValueError:
        return False
    return True


def _check_room(path: Path) -> None:
    """Raises the `UserError` of a full disk where nothing can be written beside `path`."""
    probe = path.with_name(f".{path.name}.room")
    try:
        write_bytes(probe, bytes(4096))
    finally:
        probe.unlink(missing_ok=True)


def _replays(path: Path) -> bool:
    """Whether Optuna takes every line: one that is JSON and no record of its would stop it."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    try:
        JournalStorage(JournalFileBackend(str(path), lock_obj=_lock(path)))
    except OSError:
        raise
    except Exception as error:  # whatever a line of any content makes it raise
        if no_space(error):
            raise
        return False
    return True


def _remove_stale_lock(lock: Path) -> str | None:
    """A lock that stays for a second is of a killed process: workers hold one for milliseconds."""
    with suppress(FileNotFoundError):
        before = lock.stat()
        time.sleep(1)
        after = lock.stat()
        if (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns):
            lock.unlink()
            return f"{lock} was left by a killed process; removed"
    return None


# A server -----------------------------------------------------------------------------------------


def checked_url(url: str) -> str:
    """`url` as SQLAlchemy takes it; a `UserError` unless it names a PostgreSQL server."""
    scheme, _, rest = url.partition("://")
    if not rest or not _port_is_a_number(url) or scheme not in ("postgresql", "postgres"):
        raise UserError(
            f"--storage {shown(url)} is not a PostgreSQL URL; write "
            "postgresql://user@host/database, or leave it out for a journal file"
        )
    return f"postgresql+psycopg://{rest}"


def _port_is_a_number(url: str) -> bool:
    try:
        urlsplit(url).port  # noqa: B018
    except ValueError:
        return False
    return True


def shown(url: str) -> str:
    """`url` for people and logs: without its password, and without options, which may hold one."""
    try:
        parts = urlsplit(url)
    except ValueError:  # of a bracket that nothing closes: where its password begins is not known
        return "(an address that cannot be read)"
    user, at, host = parts.netloc.rpartition("@")
    scheme = f"{parts.scheme}://" if parts.scheme else ""
    return f"{scheme}{user.partition(':')[0]}{at}{host}{parts.path}"


def has_password(url: str) -> bool:
    """Whether `url` holds a secret: after the user's name, or as an option, however it is coded."""
    parts = urlsplit(url)
    options = {name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    return parts.password is not None or any("password" in name for name in options)


def _database(url: str) -> Any:
    from optuna.storages import RDBStorage

    return RDBStorage(
        checked_url(url),
        engine_kwargs={
            "pool_pre_ping": True,  # a connection that a restart has closed is opened again
            "connect_args": {"connect_timeout": CONNECT_SECONDS, "keepalives_idle": 30},
        },
    )


@contextmanager
def _answering(url: str | None) -> Iterator[None]:
    """Turns what a server that does not answer makes Optuna raise into one sentence."""
    try:
        yield
    except ImportError as error:
        raise UserError(
            "--storage needs psycopg; install it with: pip install 'psycopg[binary]'"
        ) from error
    except Exception as error:
        if url is None or not _is_storage_error(error):
            raise
        raise UserError(
            f"the storage {shown(url)} does not answer ({_reason(error)}); start it, "
            "or leave --storage out for a journal file"
        ) from error


def _is_storage_error(error: BaseException) -> bool:
    return type(error).__name__ == "StorageInternalError" or type(error).__module__.startswith(
        ("sqlalchemy", "psycopg")
    )


def _reason(error: BaseException) -> str:
    """The innermost message, on one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:300]


def patient(call: Callable[P, T]) -> Callable[P, T]:
    """`call` repeated while its server does not answer, for `PATIENCE_SECONDS`; then a `UserError`.

    Every call it stands before may be repeated: results are in the run folders.
    """

    @functools.wraps(call)
    def repeat(*args: P.args, **more: P.kwargs) -> T:
        began = time.monotonic()
        while True:
            try:
                return call(*args, **more)
            except json.JSONDecodeError as error:
                raise UserError(
                    f"the journal is damaged ({error}), perhaps by a full disk; free some space "
                    "where it is, and run again: it is set aside, and built anew from the results"
                ) from error
            except Exception as error:
                if no_space(error):
                    raise UserError(
                        "no space left for the journal; free some and run again"
                    ) from error
                if not _is_storage_error(error):
                    raise
                waited = time.monotonic() - began
                if waited > PATIENCE_SECONDS or preempt.requested():
                    raise UserError(
                        f"the storage has not answered for {waited:.0f} s "
                        f"({_reason(error)}); results are kept, run again"
                    ) from error
                print(
                    plain(f"the storage does not answer, trying again ({_reason(error)})"),
                    flush=True,
                )
                time.sleep(RETRY_SECONDS)

    return repeat


def _identity(root: Path) -> str:
    """Names these run folders wherever they are mounted; the planner, who is first, writes it."""
    path = root / "storage.id"
    if not path.exists():
        write_text(path, uuid.uuid4().hex[:8] + "\n")
    return path.read_text().strip()
