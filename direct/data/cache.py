"""The cache that cells share: tensors and JSON under names made from their content's identity.

A `Store` is a folder of safetensors shards, each written whole or not at all, so that any number of
processes add to it and a kill loses at most the shards in progress. A damaged entry is named, set
aside and absent from then on; whoever needs it makes it anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from ..files import (
    canonical_json,
    checksum_path,
    digest,
    read_checked,
    save_arrays,
    set_aside,
    write_text,
)

OPEN = 128  # shards held open at a time: a process may open about a thousand files


class Store:
    """Tensors by key, in the shards of one folder. Keys are hex digests or other plain names.

    A shard is a safetensors file whose metadata holds a CRC-32 of each tensor, and a `.sha256` file
    beside it. Opening a store hashes the shards that were touched since they were written or last
    hashed; reading a tensor for the first time checks its CRC.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._shards: dict[str, Path] = {}
        self._checksums: dict[str, int] = {}  # CRC-32 of tensors that were not read yet
        self._open: dict[Path, Any] = {}
        self.refresh()

    def refresh(self) -> None:
        """Reads the folder again."""
        from safetensors import safe_open

        known = set(self._shards.values())
        for path in sorted(self.folder.glob("*.safetensors")):
            if path in known or not _is_sound(path):
                continue
            with safe_open(path, "pt") as shard:
                self._shards.update(dict.fromkeys(shard.keys(), path))
                self._checksums.update(json.loads(shard.metadata()["json"]).get("crc32", {}))

    def missing(self, keys: Iterable[str]) -> list[str]:
        """The keys that are not in the store, each once, in the order given."""
        return [key for key in dict.fromkeys(keys) if key not in self._shards]

    def __getitem__(self, key: str) -> Tensor:
        tensor = self._opened(self._shards[key]).get_tensor(key)
        expected = self._checksums.pop(key, None)
        if expected is not None and _crc32(tensor) != expected:
            path = self._shards[key]
            set_aside(path)
            self._open.pop(path)
            self._shards = {k: p for k, p in self._shards.items() if p != path}
            raise UserError(f"{path} is damaged at {key}; set aside, the next run makes it anew")
        return tensor

    def _opened(self, path: Path) -> Any:
        from safetensors import safe_open

        if path not in self._open:
            if len(self._open) == OPEN:
                del self._open[next(iter(self._open))]
            self._open[path] = safe_open(path, "pt")
        return self._open[path]

    def write(self, tensors: dict[str, Tensor]) -> None:
        """Adds one shard, atomically."""
        write_shard(self.folder, tensors)

    def verify(self) -> list[Path]:
        """Hashes every shard, whatever its times say; sets aside and returns the damaged ones."""
        paths = sorted(self.folder.glob("*.safetensors"))
        return [path for path in paths if read_checked(path) is None]

    def remove(self) -> None:
        """Deletes the store."""
        self._open.clear()
        self._shards.clear()
        shutil.rmtree(self.folder, ignore_errors=True)


def write_shard(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Adds one shard to a store's folder, atomically."""
    path = Path(folder) / f"{digest(sorted(tensors))}.safetensors"
    checksums = {key: _crc32(tensor) for key, tensor in tensors.items()}
    save_arrays(path, tensors, {"crc32": checksums})
    _stamp(path)


def cached_json(path: Path, make: Callable[[], Any]) -> Any:
    """The value at `path`, made and written if it is not there whole."""
    if path.exists():
        return _read_json(path, make)
    with lock(path.with_suffix(".lock")):  # ranks that start together: one makes it
        return _read_json(path, make)


def _read_json(path: Path, make: Callable[[], Any]) -> Any:
    if path.exists():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            entry = json.loads(path.read_bytes())
            if entry["sha256"] == digest(entry["value"], 64):
                return entry["value"]
        set_aside(path)
    value = make()
    write_text(path, canonical_json({"sha256": digest(value, 64), "value": value}, indent=1) + "\n")
    return value


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Holds an exclusive lock on `path` against other processes; a killed holder lets go of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _is_sound(path: Path) -> bool:
    """Whether a shard is whole; hashed unless its checksum's stamp says that nothing touched it."""
    with contextlib.suppress(FileNotFoundError):
        if checksum_path(path).stat().st_mtime_ns == path.stat().st_mtime_ns:
            return True
    if read_checked(path) is None:
        return False
    _stamp(path)
    return True


def _stamp(path: Path) -> None:
    """Gives the checksum's file the shard's own time: so it was when the two were seen to agree."""
    time = path.stat().st_mtime_ns
    with contextlib.suppress(PermissionError):  # someone else's cache: hashed every time
        os.utime(checksum_path(path), ns=(time, time))


def _crc32(tensor: Tensor) -> int:
    return zlib.crc32(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
