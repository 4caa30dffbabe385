"""Results as one file: `export`, `import`, and `fsck`, which checks what is here.

An archive is a tar of `<cell>/result.json` files, of the records of the experiments that they
belong to, and a manifest with their hashes; the same results give the same bytes. An archive is
data from elsewhere: everything in it is checked before anything is written, and nothing that is
here is overwritten.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from direct.common import manifest as checksums
from direct.common.errors import UserError
from direct.common.files import (
    canonical_json,
    file_digest,
    parse_json,
    read_bounded,
    read_checksum,
    write_atomic,
    write_bytes,
    write_json,
)

from .ablations import ABLATIONS
from .cell import SCHEMA, parse_result, read_config
from .experiments import FOLDER, NAME, parsed, place_of, recorded
from .result_check import in_range

VERSION = 2
READABLE = (1, 2)  # 1 had no experiments
MANIFEST = "manifest.json"
MEMBER = re.compile(r"[0-9a-f]{12}/result\.json")
RECORD = re.compile(rf"{FOLDER}/({NAME.pattern})/({NAME.pattern})\.json")
LARGEST = 64 << 20  # bytes of one result: thousands of prompts are a few megabytes
TOTAL = 2 << 30  # bytes of all: they are checked in memory


class Taken(NamedTuple):
    """What an import has done."""

    new: int  # results
    known: int  # that were here already
    experiments: int  # noted here now
    kept: tuple[str, ...]  # experiments that are noted otherwise here, and stay so


def export(root: Path, profile: str, path: Path) -> tuple[int, int]:
    """Writes every whole result and experiment below `root` to the archive `path`; how many."""
    if path.exists():
        raise UserError(f"{path} exists; name another file, or remove it")
    found = {file.parent.name: read_bounded(file) for file in sorted(root.glob("*/result.json"))}
    damaged = [name for name, data in found.items() if parse_result(data, name) is None]
    if damaged:
        raise UserError(f"the result of cell {damaged[0]} is damaged; run fsck, then its sweep")
    if not found:
        raise UserError(f"{root} holds no results to export; run a sweep first")
    places = [place_of(root, x.name, x.table.name) for x in recorded(root)[0]]
    records = {place.relative_to(root).as_posix(): place.read_bytes() for place in places}
    manifest = {
        "version": VERSION,
        "schema": SCHEMA,
        "profile": profile,
        "results": {name: _sha(data) for name, data in found.items()},
        "experiments": {name: _sha(data) for name, data in records.items()},
    }
    members = {MANIFEST: (canonical_json(manifest, indent=1) + "\n").encode()}
    members |= {f"{name}/result.json": data for name, data in found.items()} | records
    write_atomic(path, lambda temporary: _write_tar(temporary, members))
    return len(found), len(records)


def _write_tar(path: Path, members: dict[str, bytes]) -> None:
    with (
        open(path, "wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o644
            tar.addfile(entry, io.BytesIO(data))


def take(root: Path, profile: str, path: Path) -> Taken:
    """Imports an archive below `root`.

    All or nothing: a result that differs from the one here stops the import before it writes. An
    experiment that was asked for here otherwise, as with other seeds, stays as it is here.
    """
    results, records = read(path, profile)
    folders = [root / FOLDER, *(root / name for name in results)]
    for folder in (*folders, *((root / name).parent for name in records)):
        if folder.is_symlink():
            raise UserError(f"{folder} is a link; remove it and import again")
    new = {}
    for name, data in results.items():
        here = root / name / "result.json"
        if not here.exists():
            new[name] = data
        elif read_bounded(here) != data:
            raise UserError(
                f"{path}: cell {name} has another result than {here}; nothing was "
                "imported: move one of the two away"
            )
    for name, data in new.items():
        run = root / name
        if not (run / "config.json").exists():
            write_json(run / "config.json", parse_json(data)["config"])
        write_bytes(run / "result.json", data)
    fresh = {name: data for name, data in records.items() if not (root / name).exists()}
    for name, data in fresh.items():
        write_bytes(root / name, data)
    kept = [
        name.split("/")[1]
        for name, data in records.items()
        if name not in fresh and (root / name).read_bytes() != data
    ]
    return Taken(len(new), len(results) - len(new), len(fresh), tuple(kept))


def read(path: Path, profile: str) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """The archive's results by cell, and its experiments' records by place, every one checked."""
    if not path.exists():
        raise UserError(f"{path} does not exist; name an archive that export wrote")
    if not path.is_file():  # a pipe would be waited for
        raise UserError(f"{path} is no regular file; name an archive that export wrote")
    try:
        with gzip.open(path) as packed:
            bounded: Any = _Bounded(packed)
            with tarfile.open(fileobj=bounded, mode="r:") as tar:
                members = dict(_members(tar, path))
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise UserError(f"{path} is not a whole archive ({error}); export it again") from None
    manifest = _manifest(members.pop(MANIFEST, None), path)
    if manifest["profile"] != profile:
        raise UserError(
            f"{path} holds results of profile {manifest['profile']!r}; give "
            f"--profile, this is {profile!r}"
        )
    records = {name: data for name, data in members.items() if RECORD.fullmatch(name)}
    results = {name.partition("/")[0]: x for name, x in members.items() if name not in records}
    found = [{name: _sha(x) for name, x in part.items()} for part in (results, records)]
    if found != [manifest["results"], manifest.get("experiments", {})]:
        raise UserError(
            f"{path}: its results are not those of its manifest; it was edited or "
            "damaged: export it again"
        )
    for name, data in results.items():
        result = parse_result(data, name)
        if result is None or result["config"].get("profile") != profile:
            raise UserError(
                f"{path}: the result of cell {name} was edited or is of another "
                "version; export it again"
            )
        if not in_range(result):
            raise UserError(
                f"{path}: cell {name} has scores that its judge cannot give; nothing was imported"
            )
    for name, data in records.items():
        _check_record(name, data, profile, path)
    return results, records


def _check_record(name: str, data: bytes, profile: str, path: Path) -> None:
    """A record is of the experiment that its place says, and of a table that it may speak for."""
    where = f"{path}: {name}"
    try:
        found = parsed(parse_json(data), where)
    except ValueError as error:  # and a `UserError`
        raise UserError(f"{error}; nothing was imported") from None
    shipped = found.own or (found.name == found.table.name and found.name in ABLATIONS)
    place = place_of(Path(), found.name, found.table.name).as_posix()
    if place != name or found.base.profile != profile or not shipped:
        raise UserError(f"{where} is not the experiment that its name says; nothing was imported")


class _Bounded:
    """A file of which no more than `LARGEST` bytes are read at once.

    tarfile reads an extended header whole, however long it says that it is.
    """

    def __init__(self, file: gzip.GzipFile) -> None:
        self.file, self.seek, self.tell = file, file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= LARGEST:
            raise tarfile.ReadError(f"a part of {size} bytes is too large")
        return self.file.read(size)


def _members(tar: tarfile.TarFile, path: Path) -> Iterable[tuple[str, bytes]]:
    """Names and bytes. Read to memory, never extracted: no member can name a place on disk."""
    seen: set[str] = set()
    total = 0
    for member in tar:
        known = member.name == MANIFEST or any(x.fullmatch(member.name) for x in (MEMBER, RECORD))
        if not member.isreg() or not known:
            raise UserError(
                f"{path}: member {member.name[:80]!r} is not a result file (a link, a "
                "device or a path of its own); nothing was imported"
            )
        total += member.size
        if member.name in seen or member.size > LARGEST or total > TOTAL:
            raise UserError(
                f"{path}: member {member.name} stands there twice or is too large; "
                "nothing was imported"
            )
        seen.add(member.name)
        handle: IO[bytes] | None = tar.extractfile(member)
        if handle:
            yield member.name, handle.read()


def _manifest(data: bytes | None, path: Path) -> dict[str, Any]:
    try:
        manifest = parse_json(data or b"")
        version, schema = manifest["version"], manifest["schema"]
        whole = isinstance(manifest["results"], dict) and isinstance(manifest["profile"], str)
    except (ValueError, TypeError, KeyError):
        whole, version, schema = False, None, None
    if (version not in READABLE or schema != SCHEMA) and version is not None:
        raise UserError(
            f"{path} is of version {version}, results {schema}; this program reads "
            f"version {VERSION}, results {SCHEMA}: use the commit that wrote it"
        )
    if not whole:
        raise UserError(f"{path} has no whole manifest; it is not an archive that export wrote")
    return dict(manifest)


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def fsck(root: Path, cache: Path) -> tuple[int, list[str]]:
    """Checks results, configurations and what has a checksum; changes nothing.

    Returns how many files were checked, and what is wrong.
    """
    checks: dict[str, Callable[[Path], str | None]] = {
        "*/result.json": _result_fault,
        "*/config.json": _config_fault,
        "**/*.sha256": _array_fault,
        f"**/{checksums.MANIFEST}": lambda path: checksums.fault_of(path.parent),
    }
    checked, wrong = 0, []
    for pattern, fault_of in checks.items():
        for path in sorted({*root.glob(pattern), *cache.glob(pattern)}):
            checked += 1
            try:
                fault = fault_of(path)
            except OSError as error:  # a folder or a device in a file's place, a disk
                fault = f"{error.filename or path}: cannot be read ({error.strerror})"
            wrong += [fault] if fault else []
    wrong += [
        f"{path}: left by a kill; may be removed"
        for folder in (root, cache)
        for path in sorted(folder.rglob(".*.tmp"))
    ]
    return checked, wrong


def _result_fault(path: Path) -> str | None:
    if parse_result(read_bounded(path), path.parent.name) is None:
        return f"{path}: damaged or edited; the next run sets it aside and computes it again"
    return None


def _config_fault(path: Path) -> str | None:
    with suppress(UserError):
        read_config(path.parent, load=False)  # a look at names executes nothing
        return None
    return f"{path}: not the configuration that its folder names; remove the folder"


def _array_fault(path: Path) -> str | None:
    array = path.with_suffix("")
    if not array.exists():
        return f"{path}: its file is missing; it is made again when it is needed"
    if file_digest(array) != read_checksum(path):
        return f"{array}: does not match its checksum; it is made again when it is needed"
    return None
