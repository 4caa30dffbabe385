"""A clip as it is kept and drawn: frames side by side in one picture, the judge's tracks over it.

The same drawing serves the page, where a script moves the picture behind its window, and the
filmstrips of the figures. Coordinates are the clip's pixels.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from direct.common.text import plain
from direct.config import Config

from .template import fill, number

FRAMES, WIDTH = 17, 160  # at most that many frames are shown, and pixels to a frame's width
SCORES = ("SA", "PC")  # that stand under a clip
PICTURE = re.compile(r"data:image/(png|jpeg);base64,[A-Za-z0-9+/]+=*")

Place = tuple[float, float] | None  # of an object's centre in one frame, px; None: not seen
Path = tuple[Place, ...]  # one entry per frame


@dataclass(frozen=True)
class Clip:
    """One variant's clip of a prompt."""

    label: str
    scores: dict[str, float]  # SA and PC, or a judge's own, in its units
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


def drawn(
    shown: Iterable[tuple[str, np.ndarray, dict[str, float]]], config: Config
) -> tuple[list[Clip], tuple[int, int, int]]:
    """(label, video, scores) of each as a clip, with the world judge's tracks; and their size."""
    found: list[Clip] = []
    size: tuple[int, int, int] = (0, 0, 0)
    for label, video, scores in shown:
        data, size = picture(video)
        lines = read_world(video) if config.evaluate.judge == "world" else ((), ())
        found.append(Clip(label, scores, data, *lines))
    return found, size


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
    scores = {str(name): float(value) for name, value in dict(values["scores"]).items()}
    return Clip(str(values["label"]), scores, values["picture"], tracks, laws)


def score_words(clip: Clip) -> str:
    """`SA 91, PC 12`, in percent; a judge's own scores as they are."""
    own = [(name, f"{clip.scores[name]:.3g}") for name in sorted({*clip.scores} - {*SCORES})]
    known = [(name, f"{100 * clip.scores[name]:.0f}") for name in SCORES if name in clip.scores]
    return ", ".join(f"{plain(name)} {value}" for name, value in known + own)


# Drawing ------------------------------------------------------------------------------------------


def _line(path: Sequence[Place]) -> str:
    """Path data; the line breaks where the object is not seen."""
    steps, down = [], False
    for place in path:
        if place is not None:
            steps.append(f"{'L' if down else 'M'}{number(place[0])} {number(place[1])}")
        down = place is not None
    return "".join(steps)


def film(clip: Clip) -> dict[str, Any]:
    """A clip as the templates draw it: words, picture, path data, and the spots' places."""
    return {
        "label": clip.label,
        "scores": score_words(clip),
        "picture": clip.picture,
        "laws": [_line(path) for path in clip.laws],
        "tracks": [_line(path) for path in clip.tracks],
        "spots": [
            " ".join("-" if p is None else f"{number(p[0])},{number(p[1])}" for p in path)
            for path in clip.tracks
        ],
    }


SHOWN, CELL, GAP, LEFT, HEAD, RIGHT = 6, 84, 4, 130, 34, 116  # of a filmstrip, px


def filmstrip(rows: Sequence[tuple[str, str, Sequence[Clip]]], size: tuple[int, int, int]) -> str:
    """An SVG document: per (title, prompt, clips) a heading, and per clip a row of frames."""
    width, height, frames = size
    tall = round(CELL * height / width)
    chosen = np.linspace(0, frames - 1, min(SHOWN, frames)).round().astype(int).tolist()
    right = LEFT + len(chosen) * (CELL + GAP) + RIGHT
    drawn, y = [], 8
    for title, prompt, clips in rows:
        row: dict[str, Any] = {"y": y, "title": title, "prompt": prompt, "films": []}
        y += HEAD + 4
        for clip in clips:
            places = [
                {
                    "index": t,
                    "x": LEFT + column * (CELL + GAP),
                    "tracks": [_line(path[: t + 1]) for path in clip.tracks],
                }
                for column, t in enumerate(chosen)
            ]
            row["films"].append(film(clip) | {"y": y, "frames": places})
            y += tall + GAP
        y += 14
        drawn.append(row)
    return fill(
        "filmstrip.svg",
        rows=drawn,
        size=size,
        cell=CELL,
        tall=tall,
        words=right - RIGHT + 6,  # where a row's scores stand
        right=right,
        bottom=y,
    )
