"""Files that are whole or absent: temporary name, fsync, rename; a checksum beside what is cached.

A reader never meets a half-written file under its final name, also after a kill or on a full disk.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock

from .errors import UserError, no_space

LARGEST = 1 << 28  # bytes of a file from elsewhere that is read whole


def write_atomic(path: Path, write: Callable[[Path], object], new: bool = False) -> bool:
    """Calls `write(temporary)` and renames it to `path` once its bytes are on the disk.

    new: a file that stands there already is kept; the answer is then false.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        write(temporary)
        _fsync(temporary)
        if new and not give_name(temporary, path):
            return False
        if not new:
            os.replace(temporary, path)
        _fsync(path.parent)
        return True
    except OSError as error:
        if no_space(error):
            raise UserError(f"no space left to write {path}; free some and run again") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def give_name(temporary: Path, path: Path) -> bool:
    """Makes `path` a name of the whole file `temporary`; false where another file has that name.

    One process of all gets it, on any host: a link is atomic, also on NFS. There an answer may be
    lost, and the question asked again says that the name is taken: by this very file, then.
    """
    try:
        os.link(temporary, path)
    except FileExistsError:
        with open(temporary) as file:  # to open it asks the server; a look may be a remembered one
            return os.fstat(file.fileno()).st_nlink > 1
    return True


def write_folder(path: Path, write: Callable[[Path], object]) -> None:
    """Calls `write(temporary folder)` and renames it to `path` once its bytes are on the disk."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        temporary.mkdir()
        write(temporary)
        for entry in sorted(temporary.rglob("*"), reverse=True):
            _fsync(entry)
        _fsync(temporary)
        os.replace(temporary, path)
        _fsync(path.parent)
    except Exception as error:
        if no_space(error):
            raise UserError(f"no space left to write {path}; free some and run again") from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_bytes(path: Path, data: bytes) -> None:
    write_atomic(path, lambda temporary: temporary.write_bytes(data))


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def canonical_json(value: Any, indent: int | None = None) -> str:
    """The one spelling of a value that is hashed and stored: sorted keys, no nan."""
    separators = (",", ":") if indent is None else None
    return json.dumps(value, sort_keys=True, indent=indent, separators=separators, allow_nan=False)


def write_json(path: Path, value: Any) -> None:
    write_text(path, canonical_json(value, indent=1) + "\n")


def create_json(path: Path, value: Any) -> bool:
    """`write_json` of a file that is never replaced; false where one is there already."""
    data = (canonical_json(value, indent=1) + "\n").encode()
    return write_atomic(path, lambda temporary: temporary.write_bytes(data), new=True)


def note_json(path: Path, value: Any) -> None:
    """`write_json`, unless the file holds the value already: thousands need not be synced again."""
    text = canonical_json(value, indent=1) + "\n"
    with contextlib.suppress(OSError):
        if read_bounded(path) == text.encode():
            return
    write_text(path, text)


def parse_json(data: str | bytes) -> Any:
    """The value of JSON text; ValueError where it is none, also where it is nested too deeply."""
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_bounded(path: Path, most: int = LARGEST) -> bytes:
    """The bytes of a file from elsewhere; an OSError where it is a pipe, a device or too large."""
    if _size(path) > most:
        raise OSError(errno.EFBIG, f"it has more than {most:,} bytes", str(path))
    with open(path, "rb") as file:
        if not os.fstat(file.fileno()).st_nlink:  # NFS may know a name that another host removed
            raise FileNotFoundError(errno.ENOENT, "it was removed", str(path))
        return file.read()


def _size(path: Path) -> int:
    """Of a regular file; an OSError of another: a pipe is waited for, a device may have no end."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return status.st_size


def read_json(path: Path) -> Any:
    """The value of a JSON file; a `UserError` where it cannot be read."""
    try:
        return parse_json(read_bounded(path))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}") from None


def sealed(record: dict[str, Any]) -> str:
    """A record as a file's text, with the checksum that `read_sealed` asks for."""
    return canonical_json(record | {"checksum": digest(record, 64)}) + "\n"


def read_sealed(path: Path) -> dict[str, Any]:
    """A record that was `sealed`; a damaged one is a ValueError, TypeError, KeyError or
    AttributeError, one that cannot be read an OSError."""
    record: dict[str, Any] = parse_json(read_bounded(path))
    checksum = record.pop("checksum")
    if digest(record, 64) != checksum:
        raise ValueError(f"{path} does not match its checksum")
    return record


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a JSON-lines file that is appended to; none where there is no file.

    A last line that a kill has torn is cut off the file, so that the next one stands free.
    """
    try:
        data = read_bounded(path) if path.exists() else b""
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error}); move it away and run again") from None
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        os.truncate(path, len(whole))
    found = []
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            found.append(dict(parse_json(line)))
        except (ValueError, TypeError):
            raise UserError(
                f"{path}, line {number}: not a JSON object; remove the file and run again"
            ) from None
    return found


def digest(value: Any, length: int = 12) -> str:
    """Hash of a value's canonical JSON, `length` hex digits of SHA-256."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:length]


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hex digits; an OSError where it is no regular file."""
    _size(path)
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def save_arrays(path: Path, arrays: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
    """Tensors as safetensors, atomically, with a `.sha256` file that `load_arrays` checks."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in arrays.items()}
    data = save(tensors, {"json": canonical_json(metadata or {})})
    write_bytes(path, data)
    write_text(checksum_path(path), hashlib.sha256(data).hexdigest() + "\n")


def load_arrays(path: Path) -> dict[str, Any] | None:
    """The tensors of `save_arrays`; `None` where there is no whole entry."""
    from safetensors.torch import load

    data = read_checked(path)
    return None if data is None else load(data)


def read_checked(path: Path) -> bytes | None:
    """The bytes of a file with a `.sha256` beside it; `None` where there is no whole entry.

    An entry whose bytes do not match its checksum is named, set aside as `*.damaged` and absent
    from then on, so that it is computed again.
    """
    path = Path(path)
    if not checksum_path(path).exists():
        return None  # killed between the two writes
    try:
        other = path.exists() and not path.is_file()  # a device, which may have no end
        data = b"" if other else path.read_bytes()
        whole = hashlib.sha256(data).hexdigest() == read_checksum(checksum_path(path))
    except FileNotFoundError:  # another process has just set it aside
        return None
    if whole:
        return data
    set_aside(path)
    return None


def set_aside(path: Path) -> None:
    """Renames a damaged file to `*.damaged` and says so, unless another process was first."""
    damaged = path.with_name(path.name + ".damaged")
    try:
        os.replace(path, damaged)
    except FileNotFoundError:
        return
    checksum_path(path).unlink(missing_ok=True)
    print(f"damaged: {path} does not match its checksum; set aside as {damaged.name}")


def checksum_path(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def read_checksum(path: Path) -> str:
    """What a `.sha256` file says; of one that is damaged, something that no file has."""
    return read_bounded(path)[:100].decode(errors="replace").strip()


def check_folder(path: Path, option: str) -> None:
    """Raises the `UserError` of a folder that cannot be made or written at `path`."""
    above = (path.absolute(), *path.absolute().parents)
    there = next(place for place in above if os.path.lexists(place))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"{option}: {there} is no folder that may be written; give another")


def check_file(path: Path, option: str, endings: Iterable[str]) -> None:
    """Raises the `UserError` of a file of one of these endings that cannot be written at `path`."""
    if path.suffix not in endings:
        raise UserError(f"{option} {path} must end in {' or '.join(endings)}; name another file")
    if path.is_dir():
        raise UserError(f"{option} {path} is a folder; name a file")
    check_folder(path.parent, option)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cached_json(path: Path, make: Callable[[], Any]) -> Any:
    """The value at `path`, made and written if it is not there whole."""
    if path.exists():
        return _read_json(path, make)
    with lock(path.with_suffix(".lock")):  # ranks that start together: one makes it
        return _read_json(path, make)


def _read_json(path: Path, make: Callable[[], Any]) -> Any:
    if path.exists():
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            entry = parse_json(read_bounded(path))
            if entry["sha256"] == digest(entry["value"], 64):
                return entry["value"]
        set_aside(path)
    value = make()
    write_text(path, canonical_json({"sha256": digest(value, 64), "value": value}, indent=1) + "\n")
    return value


@contextlib.contextmanager
def lock(path: Path, seconds: float = -1) -> Iterator[None]:
    """Holds an exclusive lock on `path` against other processes; a killed holder frees it.

    Waits at most so many seconds for it (-1: for ever), then raises `filelock.Timeout`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path, timeout=seconds):
        yield
