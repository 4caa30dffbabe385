"""From pixels to tracks: which stage, which colours, and where each object is in every frame.

Every pixel is read as `stage + alpha (color - stage)`; an object's place is the alpha-weighted
centroid, which at 32 px is ten times as exact as a thresholded one (Sutskever's balls and phyworld
threshold; measured in the judge's report).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .motion import FRAMES, Array
from .record import BACKGROUNDS, COLORS, SCENES
from .render import STRING_COLOR, X, Y, setting_image

NAMES = tuple(COLORS)
VISIBLE = 6.0  # px^2 of coverage; the smallest object covers 19.6
SEEN_FRAMES = 4  # a colour that is visible in fewer frames is not an object
SOLID = 0.15  # coverage below this is noise
EDGE = 0.29  # px: partial coverage times radius, 5 % above ground truth's 99.5th percentile
# What nobody sees of a channel (5 of 255 levels; Chou and Li 1995: 3 to 20), and of a colour
UNSEEN = 0.02
UNSEEN_COLOR = UNSEEN * np.sqrt(3)


@dataclass(frozen=True)
class Stage:
    """The static part of a clip, recognised."""

    setting: str
    background: str
    side: str
    image: Array  # [H, W, 3]


@dataclass(frozen=True)
class Track:
    """One object: what it is and where it was. Coordinates are nan where it is not visible."""

    color: str
    xy: Array  # [T, 2] px
    mass: Array  # [T] px^2 of coverage
    spread: Array  # [T] px, horizontal standard deviation
    clear: Array  # [T] bool: visible, and not cut by the picture's edge
    blur: float  # partial coverage, from 10 to 90 %, beyond an ideal disk's, relative; 0 if crisp

    @property
    def radius(self) -> float:
        """Of the disk with the median coverage, px."""
        masses = self.mass[self.clear] if self.clear.any() else self.mass
        return float(np.sqrt(np.median(masses) / np.pi))


@dataclass(frozen=True)
class Reading:
    """What the judge knows of a clip."""

    stage: Stage
    tracks: tuple[Track, ...]  # by falling mass
    unexplained: float  # mean over pixels of the colour that nothing explains, beyond UNSEEN
    flicker: float  # mean frame-to-frame change where nothing ever is, beyond UNSEEN
    stage_error: float  # mean colour error of the empty stage there, beyond UNSEEN


def read(video: Array) -> Reading:
    """Tracks a clip. `video`: uint8 or float in [0, 1], [T, H, W, 3]."""
    frames = video.astype(np.float64) / 255 if video.dtype == np.uint8 else video.astype(float)
    stage = recognise(frames)
    alpha, residual, empty = matte(frames, stage)
    tracks = [_track(name, alpha[..., k]) for k, name in enumerate(NAMES)]
    objects = [track for track in tracks if (track.mass > VISIBLE).sum() >= SEEN_FRAMES]
    objects.sort(key=lambda track: -float(np.median(track.mass)))
    still = empty.all(axis=0)  # [H, W]: where nothing ever is
    if not still.any():
        return Reading(stage, tuple(objects), float(residual.mean()), 1.0, 1.0)
    flicker = np.maximum(abs(np.diff(frames, axis=0)).mean(-1) - UNSEEN, 0)[:, still].mean()
    error = np.maximum(abs(frames - stage.image).mean(-1) - UNSEEN, 0)[:, still].mean()
    return Reading(stage, tuple(objects), float(residual.mean()), float(flicker), float(error))


def recognise(frames: Array) -> Stage:
    """The empty stage nearest to the clip's median frame."""
    keys, images = _stages()
    median = np.median(frames, axis=0)
    errors = abs(images - median).mean(axis=(1, 2, 3))
    best = int(np.argmin(errors))
    setting, background, side, _ = keys[best]
    return Stage(setting, background, side, images[best])


@lru_cache(maxsize=1)
def _stages() -> tuple[list[tuple[str, str, str, int]], Array]:
    keys = [
        (setting, background, side, place)
        for setting in sorted({scene.setting for scene in SCENES.values()})
        for background in BACKGROUNDS
        for side in (("left", "right") if setting == "wall" else ("right",))
        for place in (range(10, 23) if setting == "spout" else (16,))
    ]
    return keys, np.stack([setting_image(*key) for key in keys])


def matte(frames: Array, stage: Stage) -> tuple[Array, Array, Array]:
    """Coverage per colour [T, H, W, colours], what no colour explains, and where nothing is.

    The last two are [T, H, W]; a pendulum's string is neither an object nor unexplained.
    """
    palette = np.array([*COLORS.values(), *([STRING_COLOR] if stage.setting == "pivot" else [])])
    offset = frames - stage.image  # [T, H, W, 3]
    # offset = alpha toward + remainder, by least squares for each colour: alpha [T, H, W, colours]
    length = ((palette - stage.image[..., None, :]) ** 2).sum(-1)  # |toward|^2, [H, W, colours]
    along = offset @ palette.T - (offset * stage.image).sum(-1)[..., None]  # <offset, toward>
    alpha = np.clip(along / length, 0, 1)
    saved = alpha * (2 * along - alpha * length)  # |offset|^2 - |remainder|^2
    best = saved.argmax(-1)[..., None]
    chosen = np.take_along_axis(alpha, best, -1)
    remainder = (offset**2).sum(-1) - np.take_along_axis(saved, best, -1)[..., 0]
    chosen = np.where(chosen > SOLID, chosen, 0)
    coverage = chosen * (best == np.arange(len(NAMES)))
    unexplained = np.maximum(np.sqrt(np.maximum(remainder, 0)) - UNSEEN_COLOR, 0)
    return coverage, unexplained, chosen[..., 0] == 0


def _track(color: str, alpha: Array) -> Track:
    mass = alpha.sum(axis=(1, 2))
    visible = mass > VISIBLE
    weight = alpha / np.where(visible, mass, np.inf)[:, None, None]
    x, y = (weight * X).sum((1, 2)), (weight * Y).sum((1, 2))
    spread = np.sqrt(np.maximum((weight * X**2).sum((1, 2)) - x**2, 0))
    xy = np.where(visible[:, None], np.stack([x, y], -1), np.nan)
    edge = (
        alpha[:, 0].sum(-1)
        + alpha[:, -1].sum(-1)
        + alpha[:, :, 0].sum(-1)
        + alpha[:, :, -1].sum(-1)
    )
    soft = np.clip((alpha - 0.1) / 0.8, 0, 1)  # an edge's width is counted from 10 to 90 %
    partial = (soft * (1 - soft)).sum() / max(soft.sum(), 1e-9)
    ideal = EDGE / np.sqrt(np.maximum(np.median(mass), 1.0) / np.pi)
    return Track(color, xy, mass, spread, visible & (edge < 0.3), max(partial / ideal - 1, 0.0))


assert FRAMES > SEEN_FRAMES
