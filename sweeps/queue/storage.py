"""Where a sweep's study lives: a journal file beside the run folders, or a PostgreSQL server.

Neither is the source of truth: a study that is damaged or lost is built anew from the run folders.
"""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from direct.common.errors import UserError, no_space
from direct.common.files import parse_json, read_bounded, write_bytes, write_text

if TYPE_CHECKING:
    import optuna

VARIABLE = "SWEEPS_STORAGE"  # another way to give the URL: a command line is seen by everyone
LOCK_GRACE_SECONDS = 10  # of a journal lock that a killed process left
CONNECT_SECONDS = 10
ANSWER_SECONDS = 5  # for a sign of life on a connection that is open: a cut link says nothing


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
            sampler=optuna.samplers.RandomSampler(seed=0),  # never asked
        )


# A journal ----------------------------------------------------------------------------------------


def journal(root: Path) -> Path:
    return Path(os.path.abspath(root / "study.journal"))  # Optuna's locks hang on relative paths


def is_behind(root: Path, name: str, results: Iterable[Path]) -> bool:
    """Whether the journal may lack one of these results, without opening it: Optuna takes a while.

    It lacks the sweep's study, or a result was written after it.
    """
    path = journal(root)
    if not path.exists() or f'"{name}"'.encode() not in read_bounded(path):
        return True
    written = max((x.stat().st_mtime_ns for x in results if x.exists()), default=0)
    return path.stat().st_mtime_ns < written


def _journal_storage(root: Path) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    path = journal(root)
    return JournalStorage(JournalFileBackend(str(path), lock_obj=_lock(path)))


def _lock(path: Path) -> Any:
    from optuna.storages.journal import JournalFileOpenLock

    return JournalFileOpenLock(str(path), grace_period=LOCK_GRACE_SECONDS)


def repair(root: Path) -> str | None:
    """Sets a journal aside that Optuna cannot read, or whose last line is torn.

    Call it under `waiting.planner`: no other process writes it. Returns what was done, in words.
    """
    path = journal(root)
    if not path.exists():
        return None
    if not path.is_file():  # a pipe would be waited for
        raise UserError(f"{path} is no regular file; move it away and run again")
    *_, last = path.read_bytes().splitlines(keepends=True) or [b"{}\n"]
    # Optuna minds a last line that is no record only once another line follows it.
    if last.endswith(b"\n") and _is_json(last) and _replays(path):
        return None
    _check_room(path)  # a full disk tears lines, and room must be made before the journal is
    os.replace(path, path.with_name(path.name + ".damaged"))
    return f"{path} is damaged; set aside and rebuilt from the results"


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
            "connect_args": {
                "connect_timeout": CONNECT_SECONDS,
                "tcp_user_timeout": 1000 * ANSWER_SECONDS,  # for what was sent
                "keepalives_idle": ANSWER_SECONDS,  # for what is awaited
                "keepalives_interval": 1,
                "keepalives_count": ANSWER_SECONDS,
            },
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


def problem(error: Exception) -> str:
    """What kept a study from being written, in words; another error is raised again."""
    if isinstance(error, UserError):
        return str(error)
    if no_space(error):
        return "no space is left for the journal"
    if isinstance(error, json.JSONDecodeError):
        return f"the journal is damaged ({error})"
    if not _is_storage_error(error):
        raise error
    return f"the storage does not answer ({_reason(error)})"


def _identity(root: Path) -> str:
    """Names these run folders wherever they are mounted; the planner, who is first, writes it."""
    path = root / "storage.id"
    if not path.exists():
        write_text(path, uuid.uuid4().hex[:8] + "\n")
    return path.read_text().strip()
