"""A clip as it is kept and drawn: frames side by side in one picture, the judge's tracks over it.

The same drawing serves the page, where a script moves the picture behind its window, and the
filmstrips of the figures. Coordinates are the clip's pixels.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from PIL import Image

from direct.common.text import plain

FRAMES, WIDTH = 17, 160  # at most that many frames are shown, and pixels to a frame's width
SCORES = ("SA", "PC")  # that stand under a clip
PICTURE = re.compile(r"data:image/(png|jpeg);base64,[A-Za-z0-9+/]+=*")

Place = tuple[float, float] | None  # of an object's centre in one frame, px; None: not seen
Path = tuple[Place, ...]  # one entry per frame


@dataclass(frozen=True)
class Clip:
    """One variant's clip of a prompt."""

    label: str
    scores: dict[str, float]  # SA and PC, in the judge's units
    picture: str  # data URI: the frames side by side
    tracks: tuple[Path, ...]  # what the judge follows
    laws: tuple[Path, ...]  # the nearest motion that a law of the world admits


def picture(video: np.ndarray) -> tuple[str, tuple[int, int, int]]:
    """uint8 [T, H, W, 3] as a data URI, and the (width, height, frames) that it shows.

    A small clip is kept as it is; a large one is thinned out and lossy.
    """
    shown = video[np.linspace(0, len(video) - 1, min(FRAMES, len(video))).round().astype(int)]
    factor = -(-video.shape[2] // WIDTH)
    frames = [Image.fromarray(frame).reduce(factor) for frame in shown]
    strip = Image.new("RGB", (frames[0].width * len(frames), frames[0].height))
    for t, frame in enumerate(frames):
        strip.paste(frame, (t * frame.width, 0))
    kind = "png" if factor == 1 else "jpeg"
    out = io.BytesIO()
    strip.save(out, kind, **({"optimize": True} if factor == 1 else {"quality": 80}))
    data = base64.b64encode(out.getvalue()).decode()
    return f"data:image/{kind};base64,{data}", (frames[0].width, frames[0].height, len(frames))


def read_world(video: np.ndarray) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """The world judge's tracks of a clip, and the best admissible law's paths."""
    from direct.world.fit import best_fit
    from direct.world.law import admissible
    from direct.world.track import read

    reading = read(video)
    fit = best_fit(reading, admissible(reading))
    tracks = tuple(_path(track.xy) for track in reading.tracks)
    if fit is None or not fit.path.size:
        return tracks, ()  # nothing is tracked, or a stream, whose law is one of volume
    return tracks, tuple(_path(fit.path[:, k]) for k in range(fit.path.shape[1]))


def _path(xy: np.ndarray) -> Path:
    """[T, 2] with nan where nothing is seen."""
    return tuple(
        (round(float(x), 2), round(float(y), 2)) if np.isfinite(x) and np.isfinite(y) else None
        for x, y in xy
    )


def clip_of(values: dict[str, Any]) -> Clip:
    """A clip from its JSON. Raises ValueError, TypeError or KeyError for anything else."""
    if not PICTURE.fullmatch(values["picture"]):
        raise ValueError("not a picture")
    tracks, laws = (
        tuple(
            tuple(None if place is None else (float(place[0]), float(place[1])) for place in path)
            for path in values[name]
        )
        for name in ("tracks", "laws")
    )
    scores = {name: float(values["scores"][name]) for name in SCORES}
    return Clip(str(values["label"]), scores, values["picture"], tracks, laws)


def score_words(clip: Clip) -> str:
    """`SA 91, PC 12`, in percent."""
    return ", ".join(f"{name} {100 * clip.scores[name]:.0f}" for name in SCORES)


# Drawing ------------------------------------------------------------------------------------------

BLACK = 'fill="none" stroke="#000" stroke-linejoin="round" stroke-width="{}" stroke-opacity=".55"'
WHITE = 'fill="none" stroke="#fff" stroke-linejoin="round" stroke-width="{}"'
AMBER = 'fill="none" stroke="#ffb000" stroke-width="{}" stroke-dasharray="{} {}"'


def lines(clip: Clip, width: int, until: int | None = None) -> str:
    """The law, dashed, and the tracks up to frame `until`, as SVG over a frame of `width` px."""
    unit = width / 32
    parts = []
    for path in clip.laws:
        d = _line(path)
        parts += [
            f'<path d="{d}" {BLACK.format(_number(0.7 * unit))}/>',
            f'<path d="{d}" {AMBER.format(*map(_number, (0.4 * unit, 0.9 * unit, 0.7 * unit)))}/>',
        ]
    for path in clip.tracks:
        d = _line(path if until is None else path[: until + 1])
        parts += [
            f'<path d="{d}" {BLACK.format(_number(0.8 * unit))}/>',
            f'<path d="{d}" {WHITE.format(_number(0.4 * unit))}/>',
        ]
    return "".join(parts)


def _line(path: Sequence[Place]) -> str:
    """Path data; the line breaks where the object is not seen."""
    steps, down = [], False
    for place in path:
        if place is not None:
            steps.append(f"{'L' if down else 'M'}{_number(place[0])} {_number(place[1])}")
        down = place is not None
    return "".join(steps)


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def film(clip: Clip, size: tuple[int, int, int], prompt: str) -> str:
    """The clip as an element of the page; the script there moves the picture and the spots."""
    width, height, frames = size
    spots = "".join(
        f'<circle class="spot" r="{_number(width / 24)}" visibility="hidden" data-places="'
        + " ".join(
            "-" if place is None else f"{_number(place[0])},{_number(place[1])}" for place in path
        )
        + '"/>'
        for path in clip.tracks
    )
    label = escape(plain(f"{clip.label}: {prompt}"))
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}">'
        f'<image href="{clip.picture}" width="{width * frames}" height="{height}"/>'
        f"<g>{lines(clip, width)}{spots}</g></svg>"
    )


SHOWN, CELL, GAP, LEFT, HEAD, RIGHT = 6, 84, 4, 130, 34, 116  # of a filmstrip, px


def filmstrip(rows: Sequence[tuple[str, str, Sequence[Clip]]], size: tuple[int, int, int]) -> str:
    """An SVG document: per (title, prompt, clips) a heading, and per clip a row of frames."""
    width, height, frames = size
    tall = round(CELL * height / width)
    chosen = np.linspace(0, frames - 1, min(SHOWN, frames)).round().astype(int)
    total = LEFT + len(chosen) * (CELL + GAP) + RIGHT
    parts, defs, y = [], [], 8
    for i, (title, prompt, clips) in enumerate(rows):
        parts.append(_text(8, y + 14, f"“{prompt}”", "bold"))
        parts.append(_text(8, y + 29, title, "normal", "#555"))
        y += HEAD + 4
        for k, clip in enumerate(clips):
            name = f"clip-{i}-{k}"
            defs.append(
                f'<image id="{name}" href="{clip.picture}" width="{width * frames}" '
                f'height="{height}" style="image-rendering: pixelated"/>'
            )
            parts.append(_text(8, y + tall / 2 + 4, clip.label))
            for column, t in enumerate(chosen):
                x = LEFT + column * (CELL + GAP)
                parts.append(
                    f'<svg x="{x}" y="{y}" width="{CELL}" height="{tall}" '
                    f'viewBox="0 0 {width} {height}"><use href="#{name}" x="{-t * width}"/>'
                    f"{lines(clip, width, int(t))}</svg>"
                )
            parts.append(
                _text(total - RIGHT + 6, y + tall / 2 + 4, score_words(clip), "normal", "#555")
            )
            y += tall + GAP
        y += 14
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{total}" height="{y}" '
            f'viewBox="0 0 {total} {y}" font-family="Helvetica, Arial, sans-serif" font-size="12">',
            f'<rect width="{total}" height="{y}" fill="#fff"/>',
            "<defs>",
            *defs,
            "</defs>",
            *parts,
            "</svg>",
            "",
        ]
    )


def _text(x: float, y: float, text: str, weight: str = "normal", color: str = "#000") -> str:
    return (
        f'<text x="{_number(x)}" y="{_number(y)}" font-weight="{weight}" fill="{color}">'
        f"{escape(plain(text))}</text>"
    )
