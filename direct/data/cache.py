"""The cache that cells share: tensors and JSON under names made from their content's identity.

A `Store` is a folder of safetensors shards, each written whole or not at all, so that any number of
processes add to it and a kill loses at most the shards in progress. A damaged entry is named, set
aside and absent from then on; whoever needs it makes it anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from ..files import canonical_json, digest, load_arrays, save_arrays, set_aside, write_text

_sound: set[tuple[str, int, int]] = set()  # shards whose checksum this process has seen to be right


class Store:
    """Tensors by key, in the shards of one folder. Keys are hex digests or other plain names."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._shards: dict[str, Path] = {}
        self._open: dict[Path, Any] = {}
        self.refresh()

    def refresh(self) -> None:
        """Reads the folder again; every shard's checksum is checked once per process."""
        from safetensors import safe_open

        for path in sorted(self.folder.glob("*.safetensors")):
            if path in self._open or not _is_sound(path):
                continue
            self._open[path] = safe_open(path, "pt")
            self._shards.update(dict.fromkeys(self._open[path].keys(), path))

    def missing(self, keys: Iterable[str]) -> list[str]:
        """The keys that are not in the store, each once, in the order given."""
        return [key for key in dict.fromkeys(keys) if key not in self._shards]

    def __getitem__(self, key: str) -> Tensor:
        return self._open[self._shards[key]].get_tensor(key)

    def write(self, tensors: dict[str, Tensor]) -> None:
        """Adds one shard, atomically."""
        save_arrays(self.folder / f"{digest(sorted(tensors))}.safetensors", tensors)

    def remove(self) -> None:
        """Deletes the store."""
        self._open.clear()
        self._shards.clear()
        shutil.rmtree(self.folder, ignore_errors=True)


def cached_json(path: Path, make: Callable[[], Any]) -> Any:
    """The value at `path`, made and written if it is not there whole."""
    if path.exists():
        try:
            entry = json.loads(path.read_bytes())
            if entry["sha256"] == digest(entry["value"], 64):
                return entry["value"]
        except (ValueError, KeyError, TypeError):
            pass
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
    status = path.stat()
    seen = (str(path), status.st_mtime_ns, status.st_size)
    if seen not in _sound and load_arrays(path) is not None:
        _sound.add(seen)
    return seen in _sound
