"""From a record to pixels: a `Film` (places, sizes, opacities), then anti-aliased frames."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .motion import (
    FLOOR,
    FRAMES,
    HALF_SIDE,
    OTHER_RADIUS,
    PIVOT,
    SIZE,
    SPEED,
    SPEED_JITTER,
    SURFACE,
    WALL,
    Array,
    parameters,
    path,
    pour_volume,
)
from .record import BACKGROUNDS, COLORS, RADIUS, SCENES, Record

GROUNDS = {
    "ice": (0.70, 0.86, 0.93),
    "planks": (0.55, 0.40, 0.26),
    "ground": (0.38, 0.46, 0.33),
    "wall": (0.38, 0.46, 0.33),
    "water": (0.70, 0.64, 0.50),
    "spout": (0.38, 0.46, 0.33),
}
BRICK, SPOUT, STRING_COLOR = (0.46, 0.30, 0.27), (0.30, 0.33, 0.38), (0.36, 0.36, 0.40)
WATER_TINT, WATER_SHARE = np.array((0.30, 0.62, 0.72)), 0.45
STREAM_WIDTH = {"small": 2.0, "large": 4.0}  # px
PUDDLE_DEPTH = 2.0  # px
SPOUT_BOTTOM = 4.0  # px
X, Y = np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5)  # pixel centres, [H, W]


@dataclass(frozen=True)
class Film:
    """What moves, per frame: where, how large, how opaque. The impossible edits change these."""

    xy: Array  # [T, objects, 2] px
    radius: Array  # [T, objects] px
    opacity: Array  # [T, objects] in [0, 1]
    volume: Array  # [T] px^2 poured; empty where nothing pours


def film(record: Record) -> Film:
    """The physically right film of a record."""
    if record.scene == "pour":
        pace = 1 + SPEED_JITTER * (2 * record.start[2] - 1)
        volume = pour_volume(SPEED["pour"][record.speed] * pace, STREAM_WIDTH[record.size])
        xy = np.full((FRAMES, 1, 2), (10.0 + 12.0 * record.start[0], FLOOR))
        return Film(xy, np.zeros((FRAMES, 1)), np.ones((FRAMES, 1)), volume)
    xy = path(record.scene, parameters(record))[0]
    radius = np.full(xy.shape[:2], RADIUS[record.size])
    radius[:, 1:] = OTHER_RADIUS
    return Film(xy, radius, np.ones(xy.shape[:2]), np.empty(0))


def render(record: Record, scenes_film: Film | None = None) -> Array:
    """uint8 video [T, H, W, 3] of a record, or of an edited film of it."""
    shown = scenes_film or film(record)
    frames = np.repeat(stage(record)[None], FRAMES, axis=0)
    if record.scene == "pour":
        alpha = pour_mask(shown.volume, shown.xy[:, 0, 0], record.material, record.size)
        frames = _over(frames, alpha * shown.opacity[:, :1, None], COLORS[record.color])
    else:
        if record.scene == "pendulum":
            frames = _over(frames, _string(shown.xy[:, 0]), STRING_COLOR)
        shape = square if record.scene == "slide" else disk
        for k, color in reversed(
            list(enumerate((record.color, record.other)[: shown.xy.shape[1]]))
        ):
            alpha = shape(shown.xy[:, k], shown.radius[:, k])
            frames = _over(frames, alpha * shown.opacity[:, k, None, None], COLORS[color])
    return np.rint(frames * 255).astype(np.uint8)


def stage(record: Record) -> Array:
    """The static part [H, W, 3] in [0, 1]: background and setting."""
    side = "left" if record.scene == "wall" and record.direction == "left" else "right"
    place = round(10.0 + 12.0 * record.start[0]) if record.scene == "pour" else 16
    return setting_image(SCENES[record.scene].setting, record.background, side, place)


@lru_cache(maxsize=256)
def setting_image(setting: str, background: str, side: str = "right", place: int = 16) -> Array:
    """A setting without its objects. `side`: of the wall. `place`: x of the spout, whole px."""
    image = np.empty((SIZE, SIZE, 3))
    image[:] = BACKGROUNDS[background]
    if setting == "water":
        below = (Y > SURFACE)[..., None]
        image = np.where(below, (1 - WATER_SHARE) * image + WATER_SHARE * WATER_TINT, image)
    if setting in GROUNDS:
        image = _over(image, np.clip(Y - FLOOR + 0.5, 0, 1), GROUNDS[setting])
    if setting == "wall":
        inside = X > SIZE - WALL if side == "right" else X < WALL
        image = _over(image, (inside & (Y < FLOOR)).astype(float), BRICK)
    if setting == "spout":
        image = _over(image, ((abs(X - place) < 3.5) & (Y < SPOUT_BOTTOM)).astype(float), SPOUT)
    if setting == "pivot":
        image = _over(image, ((abs(X - PIVOT[0]) < 3) & (PIVOT[1] > Y)).astype(float), SPOUT)
    image.setflags(write=False)
    return image


def disk(center: Array, radius: Array) -> Array:
    """Coverage [T, H, W] of disks at center [T, 2] with radius [T], px."""
    distance = np.hypot(X - center[:, 0, None, None], Y - center[:, 1, None, None])
    return np.clip(radius[:, None, None] + 0.5 - distance, 0, 1)


def square(center: Array, radius: Array) -> Array:
    """Coverage [T, H, W] of squares of the same area as disks of that radius."""
    reach = HALF_SIDE * radius[:, None, None] + 0.5
    across = np.clip(reach - abs(X - center[:, 0, None, None]), 0, 1)
    return across * np.clip(reach - abs(Y - center[:, 1, None, None]), 0, 1)


def pour_mask(volume: Array, x: Array, material: str, size: str) -> Array:
    """Coverage [T, H, W] of a stream and of what lies on the ground: a heap of sand, a puddle."""
    x, volume = x[:, None, None], np.maximum(volume, 0)[:, None, None]
    if material == "sand":  # slope 1: area = height^2
        height = np.sqrt(volume)
        heap = np.clip(height - abs(X - x) - (FLOOR - Y) + 0.5, 0, 1) * (Y < FLOOR)
        heap = np.where(volume > 0, heap, 0)
    else:
        depth = np.minimum(PUDDLE_DEPTH, np.sqrt(volume))
        half = np.where(depth > 0, volume / np.maximum(2 * depth, 1e-9), 0)
        height = depth
        heap = np.clip(half + 0.5 - abs(X - x), 0, 1) * np.clip(depth - (FLOOR - Y) + 0.5, 0, 1)
        heap = heap * (Y < FLOOR) * (volume > 0)
    across = np.clip(STREAM_WIDTH[size] / 2 + 0.5 - abs(X - x), 0, 1)
    falling = (Y > SPOUT_BOTTOM) & (Y < FLOOR)
    return np.maximum(heap, across * falling)


def _string(bob: Array) -> Array:
    """Coverage [T, H, W] of the pendulum's string, one pixel wide."""
    dx, dy = bob[:, 0, None, None] - PIVOT[0], bob[:, 1, None, None] - PIVOT[1]
    along = np.clip(((X - PIVOT[0]) * dx + (Y - PIVOT[1]) * dy) / (dx**2 + dy**2), 0, 1)
    distance = np.hypot(X - PIVOT[0] - along * dx, Y - PIVOT[1] - along * dy)
    return np.clip(1.0 - distance, 0, 1)


def _over(image: Array, alpha: Array, color: tuple[float, float, float]) -> Array:
    return image + alpha[..., None] * (np.array(color) - image)
