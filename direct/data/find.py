"""Video files below a folder, found by the names that metadata gives them."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ENDINGS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")  # in any case


class Videos:
    """The video files below `root`, in links to folders as well, each folder once."""

    def __init__(self, root: Path) -> None:
        self.paths = sorted(_below(Path(root)))
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        self._by_place: dict[str, list[Path]] = defaultdict(list)
        for path in self.paths:
            place = _place(path.relative_to(root).as_posix())
            for key in (place, _stem(place)):
                self._by_place[key].append(path)
            for key in (place.rpartition("/")[2], _stem(place).rpartition("/")[2]):
                self._by_name[key].append(path)

    def named(self, name: str) -> list[Path]:
        """Files of this name in any folder; where there is none, of another ending or without one.

        Names are compared in Unicode's composed form, since some systems write the other one.
        """
        return self._by_name.get(_place(name)) or self._by_name.get(_stem(_place(name))) or []

    def at(self, place: str) -> list[Path]:
        """Files at a path relative to the root, as `named` compares names."""
        return self._by_place.get(_place(place)) or self._by_place.get(_stem(_place(place))) or []


def is_video(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in ENDINGS


def _below(root: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:  # a folder that cannot be read is not an empty one
        raise error

    seen = set()
    for folder, folders, files in os.walk(root, onerror=refuse, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        found = (Path(folder) / name for name in files if is_video(name))
        yield from (path for path in found if path.is_file())


def _place(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _stem(name: str) -> str:
    """The name without its ending; one that is no video's belongs to the name."""
    return name.removesuffix(PurePosixPath(name).suffix) if is_video(name) else name
