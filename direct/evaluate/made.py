"""Who made a folder's clips, and about which clips a rater was asked.

    made.json     {"maker": {...}, "clips": {name: [SHA-256, text]}}, by what writes clips here
    asked.json    {name: SHA-256}: the clips of the request; answers about others are out of date

So clips of one model never count as another's, and a clip that is replaced is rated again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..common.files import file_digest, lock, read_json, write_json

MADE, ASKED = "made.json", "asked.json"
PARTS = "maker", "clips"


def claim(folder: Path, maker: dict[str, Any]) -> None:
    """Notes who makes the clips of `folder/videos`: pipeline, weights, seed and settings, as JSON.

    A `UserError` where the folder has clips of another maker, or clips that nobody has noted.
    """
    path = folder / MADE
    if not path.exists():
        if any((folder / "videos").glob("*.mp4")):
            raise UserError(
                f"{folder / 'videos'} holds clips, and no {MADE} beside it says who made them; "
                "give another folder or remove them"
            )
        write_json(path, {"maker": maker, "clips": {}})
        return
    other = _made(path)["maker"]
    for name in maker | other:
        if maker.get(name) != other.get(name):
            raise UserError(
                f"{folder} holds clips made with {name}={other.get(name)}, not "
                f"{maker.get(name)}; give another folder"
            )


def claimed(
    folder: Path, maker: dict[str, Any], clips: Sequence[Path], texts: Sequence[str]
) -> bool:
    """Claims the folder; whether all its clips are there already."""
    claim(folder, maker)
    return all(map(is_made, clips, texts))


def note(clip: Path, text: str) -> None:
    """Notes a clip that is written, `folder/videos/<name>.mp4`, and what it was generated from."""
    path, entry = clip.parent.parent / MADE, [file_digest(clip), text]
    with lock(path.with_name(".made.lock")):  # ranks write clips side by side
        found = _made(path)
        found["clips"][clip.stem] = entry
        write_json(path, found)


def is_made(clip: Path, text: str) -> bool:
    """Whether the clip is there, is the one that was noted, and was generated from this text."""
    known = _made(clip.parent.parent / MADE)["clips"].get(clip.stem)
    return clip.is_file() and known == [file_digest(clip), text]


def ask(folder: Path, clips: Iterable[Path], answers: Iterable[str]) -> None:
    """Notes the clips of a request; sets answer files aside where a clip has changed since.

    All of them, since upstream's tools ask about all clips. A clip that is not the one that its
    maker noted is a `UserError`.
    """
    path, now = folder / ASKED, {clip.stem: file_digest(clip) for clip in clips}
    _check_maker(folder, now)
    before = _asked(path) if path.exists() else {}
    changed = [name for name in now if before.get(name, now[name]) != now[name]]
    for file in (folder / name for name in answers if changed and (folder / name).exists()):
        file.replace(file.with_name(f"{file.name}.stale"))
        print(
            f"{file}: set aside as {file.name}.stale, since clips have changed after they were "
            f"rated ({len(changed)}, {changed[0]} for one)"
        )
    write_json(path, before | now)


def _check_maker(folder: Path, now: dict[str, str]) -> None:
    if not (folder / MADE).exists():
        return  # clips of any model, put here by hand
    entry = _made(folder / MADE)
    for name, checksum in now.items():
        if entry["clips"].get(name, [""])[:1] != [checksum]:
            said = ", ".join(f"{key}={value}" for key, value in entry["maker"].items())
            raise UserError(
                f"{folder / 'videos' / name}.mp4 is not the clip that was made here ({said}); "
                "make it again"
            )


def _made(path: Path) -> dict[str, Any]:
    found = read_json(path)
    maker, clips = (found.get(name) if isinstance(found, dict) else None for name in PARTS)
    if not (
        isinstance(maker, dict)
        and isinstance(clips, dict)
        and all(isinstance(entry, list) for entry in clips.values())
    ):
        raise UserError(f"{path} does not say who made which clips; remove it and the clips")
    return {"maker": maker, "clips": clips}


def _asked(path: Path) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise UserError(f"{path} is not an object of clips; remove it and the answers beside it")
    return found
