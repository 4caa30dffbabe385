"""Clips of one's own: a folder of videos and a file of captions, as `curate --videos` reads them.

The captions are a CSV or JSON-lines file with the columns `file_name`, `caption` and, if wanted,
`law`; without a file, the folder's metadata.csv or metadata.jsonl (Hugging Face's VideoFolder,
whose `text` is a caption as well). A file_name is relative to the file of captions, or to the
folder. Which clips are kept and why not: `data.wisa.choose`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..common.errors import UserError, nearest
from ..common.files import parse_json
from ..common.progress import Progress
from . import wisa
from .benchmarks import read_given, rows_of
from .find import Videos
from .wisa import Entry, LeftOut, Rule

COLUMNS = ("file_name", "caption", "law")
METADATA = ("metadata.jsonl", "metadata.csv")

Files = Callable[[str], list[Path]]  # of a path relative to the folder


def curate(
    videos: Path,
    captions: Path | None,
    out: Path,
    rule: Rule,
    workers: int = 1,
    seconds: float = wisa.SECONDS,
    progress: Progress | None = None,
    limit: wisa.Limit = list,
) -> Entry:
    """Writes what `wisa.curate` writes, of these clips; returns the report."""
    root = Path(videos)
    if not root.is_dir():
        raise UserError(f"--videos {videos} is not a folder; give the folder of the clips")
    file = captions or next((root / x for x in METADATA if (root / x).is_file()), None)
    if file is None:
        raise UserError(f"{videos} has no {' or '.join(METADATA)}; give --captions FILE.csv")
    rows = read_table(file)
    _check_columns(file, rows)
    laws = any(_text(row, "law") for row in rows)
    seen: dict[Path, str] = {}
    files = _files(root)
    described = [
        _described(n, row, root, Path(file).parent, files, laws, seen) for n, row in enumerate(rows)
    ]
    return wisa.choose(described, root, out, rule, workers, seconds, progress, limit)


def read_table(path: Path) -> list[dict[str, Any]]:
    """The rows of a CSV file with a header, or of a JSON-lines file; a `UserError` otherwise."""
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in (".csv", ".jsonl"):
        raise UserError(f"{path} is neither a .csv nor a .jsonl file; give one")
    text = read_given(path)
    if kind == ".csv":
        return rows_of(text, path)
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            row = parse_json(line) if line.strip() else None
        except ValueError as error:
            raise UserError(f"{path}, line {number} is not JSON: {error}; repair it") from None
        if isinstance(row, dict):
            rows.append(row)
        elif row is not None:
            raise UserError(f"{path}, line {number} is not an object; write one clip a line")
    return rows


def _check_columns(file: Path, rows: list[dict[str, Any]]) -> None:
    if not rows:
        raise UserError(f"{file} has no row; write one a clip, with {' and '.join(COLUMNS[:2])}")
    columns = {str(name) for name in rows[0]}
    missing = [x for x in COLUMNS[:2] if x not in columns]
    if missing and not (missing == ["caption"] and "text" in columns):
        raise UserError(f"{file} has no column {missing[0]}; {nearest(missing[0], columns)}")


def _described(
    number: int, row: Entry, root: Path, base: Path, files: Files, laws: bool, seen: dict[Path, str]
) -> Entry:
    """What the table says of a clip, as `wisa.choose` takes it; or its id and `left_out`."""
    clip: Entry = {"id": f"row {number + 1}"}
    try:
        name = _text(row, "file_name")
        if not name:
            raise LeftOut("no video named", "")
        places = [place for folder in (base, root) if (place := _inside(folder / name, root))]
        if not places:
            raise LeftOut("not in the folder of videos", name)
        clip["id"] = Path(places[0]).with_suffix("").as_posix()
        paths = next((found for place in places if (found := files(place))), [])
        if not paths:
            raise LeftOut("no such video file", name)
        if paths[0].resolve() in seen:
            raise LeftOut("named twice", seen[paths[0].resolve()])
        seen[paths[0].resolve()] = f"row {number + 1}"
        raw = _text(row, "caption") or _text(row, "text")
        cleaned = wisa.clean_caption(raw)
        if not cleaned:
            raise LeftOut("no caption", "")
        law = " ".join(_text(row, "law").lower().split())
        if laws and not law:
            raise LeftOut("no law", "other clips have one; MaNS compares them")
        return clip | {
            "paths": paths,
            "law": law,
            "caption": cleaned,
            "caption_cleaned": cleaned != " ".join(raw.split()),
            "phys_law": "",
        }
    except LeftOut as reason:
        return clip | {"left_out": reason}


def _inside(path: Path, root: Path) -> str | None:
    """The path relative to the folder, with links followed, or else as it is written."""
    for place, top in (
        (path.resolve(), root.resolve()),
        (Path(os.path.abspath(path)), Path(os.path.abspath(root))),
    ):
        if place.is_relative_to(top):
            return place.relative_to(top).as_posix()
    return None


def _files(root: Path) -> Files:
    """Finds the files that a table names; searches the folder where one is not there as written."""

    @lru_cache(maxsize=1)
    def videos() -> Videos:
        return Videos(root)

    def found(place: str) -> list[Path]:
        return [root / place] if (root / place).is_file() else videos().at(place)

    return found


def _text(row: Entry, name: str) -> str:
    value = row.get(name)
    return value.strip() if isinstance(value, str) else ""
