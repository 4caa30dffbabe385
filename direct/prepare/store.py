"""The cache that cells share: tensors and JSON under names made from their content's identity.

A `Store` is a folder of safetensors shards, each written whole or not at all, so that any number of
processes add to it and a kill loses at most the shards in progress. A damaged entry is named, set
aside and absent from then on; whoever needs it makes it anew.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import zlib
from collections.abc import Iterable, Sequence
from io import FileIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..common.errors import UserError
from ..common.files import (
    checksum_path,
    digest,
    parse_json,
    read_checked,
    save_arrays,
    set_aside,
)

OPEN = 64  # of a store's shards at a time: some systems let a process open 256 files
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class Place(NamedTuple):
    """Where a tensor's bytes lie, as its shard's header says."""

    shard: Path
    offset: int
    size: int
    dtype: torch.dtype
    shape: tuple[int, ...]


class Store:
    """Tensors by key, in the shards of one folder. Keys are hex digests or other plain names.

    A shard is a safetensors file whose metadata holds a CRC-32 of each tensor, and a `.sha256` file
    beside it. Opening a store hashes the shards that were touched since they were written or last
    hashed; reading a tensor for the first time checks its CRC.

    Tensors are read, not mapped: a mapping is filled page by page, so a disk never sees more than
    one request, and its first touch costs a third of a copy from memory (docs/log.md).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._places: dict[str, Place] = {}
        self._checksums: dict[str, int] = {}  # CRC-32 of tensors that were not read yet
        self._open: dict[Path, FileIO] = {}
        self.refresh()

    def refresh(self) -> None:
        """Reads the folder again."""
        known = {place.shard for place in self._places.values()}
        for path in sorted(self.folder.glob("*.safetensors")):
            with contextlib.suppress(FileNotFoundError):  # another process has just set it aside
                if path not in known and _is_sound(path) and (found := _header(path)):
                    self._places.update(found[0])
                    self._checksums.update(found[1])

    def missing(self, keys: Iterable[str]) -> list[str]:
        """The keys that are not in the store, each once, in the order given."""
        return [key for key in dict.fromkeys(keys) if key not in self._places]

    def __getitem__(self, key: str) -> Tensor:
        return self.batch([key])[0]

    def batch(self, keys: Sequence[str]) -> Tensor:
        """[len(keys), ...]: tensors of one shape and dtype.

        What lies in memory is copied; on Linux the disk is asked for all the rest before any of it
        is waited for.
        """
        places = [self._places[key] for key in keys]
        for key, place in zip(keys, places, strict=True):
            if (place.shape, place.dtype) != (places[0].shape, places[0].dtype):
                raise ValueError(f"{key} is {place.shape} {place.dtype}, {keys[0]} {places[0][3:]}")
        out = torch.empty(len(keys), *places[0].shape, dtype=places[0].dtype)
        rows = out.view(len(keys), out[0].numel()).view(torch.uint8).numpy()
        read = [self._in_memory(place, row) for place, row in zip(places, rows, strict=True)]
        for key, place, row, done in zip(keys, places, rows, read, strict=True):
            whole = self._rest(place, row, done)
            expected = self._checksums.pop(key, None)
            if not whole or (expected is not None and zlib.crc32(row.data) != expected):
                self._give_up(key)
        return out

    def _in_memory(self, place: Place, row: np.ndarray) -> int:
        """Copies what needs no waiting and asks for the rest; how many bytes were copied."""
        if not hasattr(os, "RWF_NOWAIT"):
            return 0
        file, done = self._opened(place.shard), 0
        with contextlib.suppress(OSError):  # none of it, or a file system that cannot tell
            done = os.preadv(file, [row.data], place.offset, os.RWF_NOWAIT)
        if done < place.size:
            rest = place.offset + done, place.size - done
            os.posix_fadvise(file, *rest, os.POSIX_FADV_WILLNEED)
        return done

    def _rest(self, place: Place, row: np.ndarray, done: int) -> bool:
        """Waits for what is left of a row; whether it is whole then."""
        while done < place.size:
            more = os.preadv(self._opened(place.shard), [row.data[done:]], place.offset + done)
            if not more:
                return False
            done += more
        return True

    def _give_up(self, key: str) -> None:
        shard = self._places[key].shard
        set_aside(shard)
        if file := self._open.pop(shard, None):
            file.close()
        self._places = {k: place for k, place in self._places.items() if place.shard != shard}
        raise UserError(f"{shard} is damaged at {key}; set aside, the next run computes it again")

    def _opened(self, path: Path) -> int:
        if path not in self._open:
            if len(self._open) == OPEN:
                self._open.pop(next(iter(self._open))).close()
            self._open[path] = FileIO(path)
        return self._open[path].fileno()

    def write(self, tensors: dict[str, Tensor]) -> None:
        """Adds one shard, atomically."""
        write_shard(self.folder, tensors)

    def verify(self) -> list[Path]:
        """Hashes every shard, whatever its times say; sets aside and returns the damaged ones."""
        paths = sorted(self.folder.glob("*.safetensors"))
        return [path for path in paths if read_checked(path) is None]

    def remove(self) -> None:
        """Deletes the store."""
        for file in self._open.values():
            file.close()
        for held in (self._open, self._places, self._checksums):
            held.clear()
        shutil.rmtree(self.folder, ignore_errors=True)


def _header(path: Path) -> tuple[dict[str, Place], dict[str, int]] | None:
    """Where a shard's tensors lie, and their CRC-32s, from the JSON behind the header's length.

    A header with a bit flipped on the disk, which no time tells, is set aside: `None`.
    """
    try:
        return _parsed(path)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, MemoryError):
        set_aside(path)
        return None


def _parsed(path: Path) -> tuple[dict[str, Place], dict[str, int]]:
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = parse_json(file.read(size))
    checksums = parse_json(header.pop("__metadata__")["json"]).get("crc32", {})
    places = {}
    for key, tensor in header.items():
        begin, end = tensor["data_offsets"]
        dtype, shape = DTYPES[tensor["dtype"]], tuple(tensor["shape"])
        places[key] = Place(path, 8 + size + begin, end - begin, dtype, shape)
    return places, checksums


def write_shard(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Adds one shard to a store's folder, atomically."""
    path = Path(folder) / f"{digest(sorted(tensors))}.safetensors"
    checksums = {key: _crc32(tensor) for key, tensor in tensors.items()}
    save_arrays(path, tensors, {"crc32": checksums})
    _stamp(path)


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
