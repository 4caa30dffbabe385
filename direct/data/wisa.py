"""Curating WISA-80K: which of its clips are trained on, and why each other one is left out.

The paper (Sec. 5.1) keeps clips of at least 81 frames and 16:9 and subsamples longer ones uniformly
to 81; that left it 11,299. The published metadata is a JSON array (some copies are several arrays,
one after another) whose entries name a video by `video_name`; the authors' loader reads a variant
with `file` and `video_id`; their examples are flat and may sit under "data". Videos are found by
file name anywhere below the folder, so that the data's paths are never followed: `data.find`. What
decoding them showed: `data.probes`.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..common.errors import UserError
from ..common.files import canonical_json, read_bounded, write_json, write_text
from ..common.progress import Progress
from .find import ENDINGS, Videos, is_video
from .probes import Probe, probed

LAWS = (
    "collision",
    "rigid body motion",
    "elastic motion",
    "liquid motion",
    "gas motion",
    "deformation",
    "melting",
    "solidification",
    "vaporization",
    "liquefaction",
    "explosion",
    "combustion",
    "reflection",
    "refraction",
    "scattering",
    "interference and diffraction",
    "unnatural light source",
)
FRAMES = 81
ASPECT, TOLERANCE = 16 / 9, 0.01  # relative: 854x480 and 1366x768 are 16:9, 832x480 is not
LARGEST = 1 << 32  # bytes of its metadata
SECONDS = 120.0  # to decode one clip
PASSING = "not decoded yet"  # a time-out or an I/O error: the next run tries again
AGAIN = "the same command tries them again, and --seconds gives each more time"
PREFIX = "PIKA_CRUSH "  # WISA's own trigger word, in front of captions of its loader's variant

SOURCE = (
    "the dataset on the hub, qihoo360/WISA-80K, holds the JSON alone by now; download data/videos/ "
    "of its revision 8fbd4a1d1a83bdd9e1f58187d1974c3fbb3a0d37 and unpack the zip files there"
)

Entry = dict[str, Any]
Limit = Callable[[list[Entry]], list[Entry]]  # what becomes of captions that are too long


@dataclass(frozen=True)
class Rule:
    """Which clips are kept, and which of their frames; the defaults are the paper's."""

    frames: int = FRAMES  # at least; a longer clip is subsampled uniformly to so many
    shape: str = "16:9"  # width to height; "any"
    fps: float = 0.0  # frames are taken at this rate instead, from the clip's start; 0: not

    @property
    def aspect(self) -> float:
        """Width by height; 0 for any."""
        if self.shape == "any":
            return 0.0
        try:
            width, height = (float(part) for part in self.shape.split(":"))
            return width / height
        except (ValueError, ZeroDivisionError):
            raise UserError(f"--aspect {self.shape} is not as 16:9; or write any") from None

    def noted(self, video: Entry) -> Entry:
        """What a line of the manifest says where this is not the paper's rule."""
        if self.fps:
            return {"curated_to": self.frames, "step": video["fps"] / self.fps}
        return {} if self.frames == FRAMES else {"curated_to": self.frames}


class LeftOut(Exception):
    """Why a clip is not in the set: (reason, detail)."""


def curate(
    wisa: Path,
    out: Path,
    workers: int = 1,
    seconds: float = SECONDS,
    progress: Progress | None = None,
    limit: Limit = list,
) -> Entry:
    """Writes `out`/manifest.jsonl (clips kept), left_out.jsonl (each other one with its reason) and
    report.json (counts); returns the report. Order: the metadata's.

    What decoding a file showed is appended to probes.jsonl at once, so a run that was cut short
    resumes; a file whose size or time changed is decoded again.
    """
    entries = read_metadata(wisa)
    videos = Videos(wisa)
    if not videos.paths:
        packed = sum(1 for _ in Path(wisa).rglob("*.zip"))
        remedy = f"unpack its {packed} zip files there" if packed else SOURCE
        raise UserError(
            f"{wisa} has metadata of {len(entries)} clips and no video file "
            f"({', '.join(ENDINGS)}): {remedy}"
        )
    described = [_described(number, entry, videos.named) for number, entry in enumerate(entries)]
    return choose(described, Path(wisa), out, Rule(), workers, seconds, progress, limit)


def choose(
    described: Sequence[Entry],
    root: Path,
    out: Path,
    rule: Rule,
    workers: int = 1,
    seconds: float = SECONDS,
    progress: Progress | None = None,
    limit: Limit = list,
) -> Entry:
    """`curate`, of clips that some file has described: their ids, paths, captions and laws."""
    described = limit(list(described))
    wanted = [clip for clip in described if "left_out" not in clip]
    paths = sorted({path for clip in wanted for path in clip["paths"]})
    probes = probed(root, paths, Path(out) / "probes.jsonl", workers, seconds, progress)
    kept: list[Entry] = []
    left_out: list[Entry] = []
    owner: dict[str, str] = {}  # of each video's bytes
    for clip in described:
        try:
            kept.append(_admitted(clip, probes, owner, root, rule))
        except LeftOut as reason:
            left_out.append({"id": clip["id"], "reason": reason.args[0], "detail": reason.args[1]})
    reasons = dict(Counter(line["reason"] for line in left_out))
    report = {
        "folder": str(root.resolve()),
        "seconds": seconds,
        "entries": len(described),
        "kept": len(kept),
        "left_out": reasons,
        "to_try_again": reasons.get(PASSING, 0),
        "kept_by_law": dict(Counter(clip["law"] for clip in kept)),
        "captions_cleaned": sum(clip["caption_cleaned"] for clip in kept),
        "captions_cut": sum(clip.get("caption_cut", False) for clip in kept),
    }
    _write_lines(Path(out) / "left_out.jsonl", left_out)
    if not kept:
        counts = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
        again = f"; not decoded yet: {AGAIN}" if PASSING in reasons else ""
        raise UserError(
            f"none of {len(described)} clips can be kept ({counts}); look up each one's reason in "
            f"{Path(out) / 'left_out.jsonl'}{again}"
        )
    write_json(Path(out) / "report.json", report)
    _write_lines(Path(out) / "manifest.jsonl", kept)  # last: where it is, the rest is
    return report


def subsample(frames: int, count: int = FRAMES) -> np.ndarray:
    """[count] ascending indices, uniform over 0 .. frames - 1, both ends among them."""
    if frames < count:
        raise UserError(f"a clip of {frames} frames cannot be subsampled to {count}")
    return np.linspace(0, frames - 1, count).round().astype(np.int64)


def read_metadata(wisa: Path) -> list[Any]:
    """The entries of wisa-80k.json, or of the only JSON file, in the folder or its data folder."""
    folders = [Path(wisa), Path(wisa) / "data"]
    found = [path for folder in folders for path in sorted(folder.glob("*.json"))]
    found = [path for path in found if path.name == "wisa-80k.json"] or found
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise UserError(f"{wisa} needs one wisa-80k.json, there or in its data; found: {names}")
    try:
        values = list(_json_values(read_bounded(found[0], LARGEST).decode()))
    except (OSError, RecursionError, ValueError) as error:
        raise UserError(f"{found[0]} is not JSON: {error}; download it again") from None
    entries: list[Any] = []
    for value in values:
        inner = value.get("data", [value]) if isinstance(value, dict) else value
        entries += inner if isinstance(inner, list) else [inner]
    return entries


def law(label: object) -> str | None:
    """The label's canonical spelling; `None` if it is none of the 17."""
    name = " ".join(str(label).lower().split()).rstrip(".")
    return name if name in LAWS else None


def clean_caption(text: str) -> str:
    """NFC, without control and formatting characters (also bidirectional ones), single spaces."""
    normal = unicodedata.normalize("NFC", text)
    spaced = "".join(" " if c.isspace() else c for c in normal)
    return " ".join("".join(c for c in spaced if unicodedata.category(c)[0] != "C").split())


def _json_values(text: str) -> Iterator[Any]:
    """The JSON values of a text, one after another, with commas or nothing between."""
    decoder, position = json.JSONDecoder(), 0
    text = text.removeprefix("\ufeff")
    while True:
        position += len(text[position:]) - len(text[position:].lstrip(" \t\r\n,"))
        if position == len(text):
            return
        value, position = decoder.raw_decode(text, position)
        yield value


def _described(number: int, entry: Any, named: Callable[[str], list[Path]]) -> Entry:
    """What the metadata says of a clip: id, paths, caption, ...; or id and `left_out`."""
    clip: Entry = {"id": f"entry {number}"}
    try:
        if not isinstance(entry, dict):
            raise LeftOut("not an object", str(entry)[:80])
        name = _first(entry, "video_name", "file", "video_id", "video_path")
        if name is None:
            raise LeftOut("no video named", "")
        file = Path(name.replace("\\", "/")).name
        clip["id"] = Path(file).stem if is_video(file) else file
        annotation = entry.get("physical_annotation")
        source = {**entry, **annotation} if isinstance(annotation, dict) else entry
        caption = (_first(source, "captions", "en_caption", "caption") or "").removeprefix(PREFIX)
        cleaned = clean_caption(caption)
        if not cleaned:
            raise LeftOut("no caption", "")
        label = law(entry.get("label"))
        if label is None:
            raise LeftOut("unknown law label", repr(entry.get("label")))
        file = file if is_video(file) else f"{file}.mp4"
        paths = named(file)
        if not paths:
            raise LeftOut("no such video file", file)
        return clip | {
            "paths": paths,
            "law": label,
            "caption": cleaned,
            "caption_cleaned": cleaned != " ".join(caption.split()),
            "phys_law": clean_caption(_first(source, "phys_law") or ""),
        }
    except LeftOut as reason:
        return clip | {"left_out": reason}


def _first(entry: Entry, *names: str) -> str | None:
    """The first of these fields that holds text."""
    texts = (entry[name] for name in names if isinstance(entry.get(name), str))
    return next((text for text in texts if text.strip()), None)


def _admitted(
    clip: Entry, probes: dict[Path, Probe], owner: dict[str, str], root: Path, rule: Rule
) -> Entry:
    """The clip's line of the manifest, or `LeftOut`."""
    if "left_out" in clip:
        raise clip["left_out"]
    video = _video(clip, probes, root)
    length = video["frames"]
    if rule.fps:
        if not video.get("fps"):
            raise LeftOut("no frame rate in the file", "")
        length = 1 + int((length - 1) * rule.fps / video["fps"] + 1e-6)
    if length < rule.frames:
        raise LeftOut(f"fewer than {rule.frames} frames", str(length))
    if rule.aspect and abs(video["width"] / video["height"] / rule.aspect - 1) > TOLERANCE:
        raise LeftOut(f"not {rule.shape}", f"{video['width']}x{video['height']}")
    if video["sha256"] in owner:
        raise LeftOut("duplicate", f"same bytes as {owner[video['sha256']]}")
    owner[video["sha256"]] = clip["id"]
    always = ("id", "law", "caption", "caption_cleaned", "phys_law")
    shown = {name: clip[name] for name in (*always, "caption_cut") if name in clip}
    fields = ("frames", "height", "width", "sha256", "turned")
    seen = {name: video[name] for name in fields if name in video}
    path = str(clip["paths"][0].relative_to(root))
    return shown | {"video": path} | seen | rule.noted(video)


def _video(clip: Entry, probes: dict[Path, Probe], root: Path) -> Probe:
    """What the clip's file shows, or `LeftOut`."""
    found = [probes[path] for path in clip["paths"]]
    for probe in found:
        if "passing" in probe:
            raise LeftOut(PASSING, clean_caption(probe["fault"]))
    if len({probe["sha256"] for probe in found}) > 1:
        places = ", ".join(str(path.relative_to(root)) for path in clip["paths"])
        raise LeftOut("several different files of this name", places)
    video = found[0]
    if "fault" in video:
        raise LeftOut("unreadable video", clean_caption(video["fault"]))
    if "unfit" in video:
        raise LeftOut(*video["unfit"])
    return video


def _write_lines(path: Path, lines: Sequence[Entry]) -> None:
    write_text(path, "".join(canonical_json(line) + "\n" for line in lines))
