"""Clips of one's own: a folder of videos and a file of captions, as `curate --videos` reads them.

The captions are a CSV or JSON-lines file with the columns `file_name`, `caption` and, if wanted,
`law`; without a file, the folder's metadata.csv or metadata.jsonl (Hugging Face's VideoFolder,
whose `text` is a caption as well). A file_name is relative to the file of captions, or to the
folder. Which clips are kept and why not: `data.wisa.choose`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..common.errors import UserError, nearest
from ..common.files import parse_json
from ..common.progress import Progress
from . import wisa
from .benchmarks import read_given, rows_of
from .wisa import Entry, LeftOut, Rule

COLUMNS = ("file_name", "caption", "law")
METADATA = ("metadata.jsonl", "metadata.csv")


def curate(
    videos: Path,
    captions: Path | None,
    out: Path,
    rule: Rule,
    workers: int = 1,
    progress: Progress | None = None,
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
    described = [
        _described(n, row, root, Path(file).parent, laws, seen) for n, row in enumerate(rows)
    ]
    return wisa.choose(described, root, out, rule, workers, progress=progress)


def read_table(path: Path) -> list[dict[str, Any]]:
    """The rows of a CSV file with a header, or of a JSON-lines file; a `UserError` otherwise."""
    path = Path(path)
    if path.suffix not in (".csv", ".jsonl"):
        raise UserError(f"{path} is neither a .csv nor a .jsonl file; give one")
    text = read_given(path)
    if path.suffix == ".csv":
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
    number: int, row: Entry, root: Path, base: Path, laws: bool, seen: dict[Path, str]
) -> Entry:
    """What the table says of a clip, as `wisa.choose` takes it; or its id and `left_out`."""
    clip: Entry = {"id": f"row {number + 1}"}
    try:
        name = _text(row, "file_name")
        if not name:
            raise LeftOut("no video named", "")
        places = [(folder / name).resolve() for folder in (base, root)]
        inside = [x for x in places if x.is_relative_to(root.resolve())]
        if not inside:
            raise LeftOut("not in the folder of videos", name)
        clip["id"] = inside[0].relative_to(root.resolve()).with_suffix("").as_posix()
        path = next((x for x in inside if x.is_file()), None)
        if path is None:
            raise LeftOut("no such video file", name)
        if path in seen:
            raise LeftOut("named twice", seen[path])
        seen[path] = f"row {number + 1}"
        raw = _text(row, "caption") or _text(row, "text")
        cleaned = wisa.clean_caption(raw)
        if not cleaned:
            raise LeftOut("no caption", "")
        law = " ".join(_text(row, "law").lower().split())
        if laws and not law:
            raise LeftOut("no law", "other clips have one; MaNS compares them")
        return clip | {
            "paths": [root / path.relative_to(root.resolve())],
            "law": law,
            "caption": cleaned,
            "caption_cleaned": cleaned != " ".join(raw.split()),
            "phys_law": "",
        }
    except LeftOut as reason:
        return clip | {"left_out": reason}


def _text(row: Entry, name: str) -> str:
    value = row.get(name)
    return value.strip() if isinstance(value, str) else ""
