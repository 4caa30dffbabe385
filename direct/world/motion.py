"""Closed-form motion: event-driven, no integrator, vectorised over a batch of parameters.

The renderer calls `path` with one set of parameters, the judge with many at once, so the ground
truth of the judge is exact. Units: pixels and frames; y points down; times are frame indices.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import ellipj, ellipk

from .record import RADIUS, Record

SIZE, FRAMES = 32, 17
GRAVITY = 0.35  # px / frame^2
FLOOR = 27.0  # y of the ground
SURFACE = 6.0  # y of the water's surface
WALL = 6.0  # px, thickness of the wall
HALF_SIDE = np.sqrt(np.pi) / 2  # of the square whose area is that of the unit disk
PIVOT = (16.0, 2.0)
OTHER_RADIUS = 3.0  # px, of the second object
RESTITUTION = {"rubber": 0.85, "wood": 0.6, "steel": 0.35}
FRICTION = {"rubber": 0.10, "wood": 0.06, "steel": 0.025}  # px / frame^2
STRING = {"slowly": 20.0, "quickly": 9.0}  # px
SPEED = {  # px / frame
    "glide": {"slowly": 0.80, "quickly": 1.30},
    "slide": {"slowly": 1.00, "quickly": 1.60},
    "throw": {"slowly": 0.70, "quickly": 1.20},
    "drop": {"slowly": 0.20, "quickly": 1.60},
    "collide": {"slowly": 0.75, "quickly": 1.25},
    "meet": {"slowly": 0.60, "quickly": 1.00},
    "wall": {"slowly": 1.25, "quickly": 2.00},
    "water": {"slowly": 0.70, "quickly": 1.20},
    "pour": {"slowly": 0.60, "quickly": 1.10},
}
DRIFT = 0.3  # px / frame, the water's current
SPEED_JITTER = 0.08  # relative, half-width
Array = np.ndarray
Values = dict[str, Any]  # name -> [B] array

TIMES = np.arange(FRAMES, dtype=float)[None]  # [1, T]


def path(scene: str, p: Values) -> Array:
    """Positions [B, T, objects, 2] of a scene's objects under parameters of shape [B]."""
    columns = {name: np.asarray(value, dtype=float)[:, None] for name, value in p.items()}
    return PATHS[scene](columns)


def glide(p: Values) -> Array:
    """Newton's first law."""
    return _points(p["x"] + p["vx"] * TIMES, FLOOR - p["radius"])


def slide(p: Values) -> Array:
    """Constant deceleration by friction until rest."""
    until_rest = np.minimum(TIMES, np.abs(p["vx"]) / p["friction"])
    x = p["x"] + p["vx"] * until_rest - 0.5 * np.sign(p["vx"]) * p["friction"] * until_rest**2
    return _points(x, FLOOR - HALF_SIDE * p["radius"])


def throw(p: Values) -> Array:
    """A projectile that bounces with restitution, or stays where it lands (restitution 0)."""
    y, landing = bounce(p["y"], p["vy"], p["restitution"], FLOOR - p["radius"])
    moving = np.where(p["restitution"] > 0, TIMES, np.minimum(TIMES, landing))
    return _points(p["x"] + p["vx"] * moving, y)


def collide(p: Values) -> Array:
    """A head-on impact on ice: momentum is conserved, restitution scales the relative speed."""
    mass, other_mass = p["radius"] ** 2, OTHER_RADIUS**2
    closing = p["vx"] - p["other_vx"]
    gap = np.maximum(np.abs(p["other_x"] - p["x"]) - p["radius"] - OTHER_RADIUS, 0)
    approaching = np.sign(p["other_x"] - p["x"]) * closing > 1e-9
    impact = np.where(approaching, gap / np.maximum(np.abs(closing), 1e-9), np.inf)
    common = (mass * p["vx"] + other_mass * p["other_vx"]) / (mass + other_mass)
    v = common - p["restitution"] * other_mass / (mass + other_mass) * closing
    other_v = common + p["restitution"] * mass / (mass + other_mass) * closing
    x = _turn(p["x"], p["vx"], v, impact)
    other_x = _turn(p["other_x"], p["other_vx"], other_v, impact)
    first, second = _points(x, FLOOR - p["radius"]), _points(other_x, FLOOR - OTHER_RADIUS)
    return np.concatenate([first, second], axis=2)


def wall(p: Values) -> Array:
    """A ball that meets a fixed obstacle on the right (side 1) or on the left (side -1)."""
    face = np.where(p["side"] > 0, SIZE - WALL - p["radius"], WALL + p["radius"])
    gap = np.maximum(p["side"] * (face - p["x"]), 0)
    toward = p["side"] * p["vx"]
    impact = np.where(toward > 1e-9, gap / np.maximum(toward, 1e-9), np.inf)
    return _points(_turn(p["x"], p["vx"], -p["restitution"] * p["vx"], impact), FLOOR - p["radius"])


def pendulum(p: Values) -> Array:
    """The exact large-angle pendulum, released from rest at `angle` (rad), `phase` frames ago."""
    k = np.sin(np.abs(p["angle"]) / 2)
    omega = np.sqrt(GRAVITY / p["length"])
    _, cn, dn, _ = ellipj(omega * (TIMES + p["phase"]) + 0 * k, k**2 + 0 * TIMES)
    theta = np.sign(p["angle"]) * 2 * np.arcsin(np.clip(k * cn / dn, -1, 1))
    x, y = PIVOT[0] + p["length"] * np.sin(theta), PIVOT[1] + p["length"] * np.cos(theta)
    return _points(x, y)


def water(p: Values) -> Array:
    """Terminal velocity up to the surface, where it floats on, or down to the ground."""
    y = np.clip(p["y"] + p["vy"] * TIMES, SURFACE, FLOOR - p["radius"])
    fall = np.maximum(FLOOR - p["radius"] - p["y"], 0)
    down = p["vy"] > 1e-9
    landing = np.where(down, fall / np.maximum(p["vy"], 1e-9), np.inf)
    return _points(p["x"] + p["vx"] * np.minimum(TIMES, landing), y)


PATHS = {
    "glide": glide,
    "slide": slide,
    "throw": throw,
    "drop": throw,
    "collide": collide,
    "meet": collide,
    "wall": wall,
    "pendulum": pendulum,
    "water": water,
}


def bounce(y: Array, vy: Array, restitution: Array, rest: Array) -> tuple[Array, Array]:
    """Free fall with bounces: height [B, T] and the time of the first landing [B, 1]."""
    landing_speed = np.sqrt(np.maximum(vy**2 + 2 * GRAVITY * np.maximum(rest - y, 0), 0))
    landing = (landing_speed - vy) / GRAVITY
    height = y + vy * TIMES + 0.5 * GRAVITY * TIMES**2
    start, speed = landing, landing_speed
    for _ in range(8):  # further bounces are below a hundredth of a pixel
        speed = speed * restitution
        tau = TIMES - start
        height = np.where(tau > 0, rest - speed * tau + 0.5 * GRAVITY * tau**2, height)
        start = start + 2 * speed / GRAVITY
    return np.where(start < TIMES, rest, height), landing


def period(length: float, angle: float) -> float:
    """Frames per swing of the pendulum; used by the tests."""
    return float(4 * np.sqrt(length / GRAVITY) * ellipk(np.sin(abs(angle) / 2) ** 2))


def parameters(record: Record) -> Values:
    """The parameters [1] of `path` that a record stands for. Pours have none: see `pour_volume`."""
    place, height, pace = record.start
    sign = -1.0 if record.direction == "left" else 1.0
    jitter = 1 + SPEED_JITTER * (2 * pace - 1)
    v = SPEED.get(record.scene, {}).get(record.speed, 0.0) * jitter
    radius = RADIUS[record.size]
    near = 5.0 + 2.0 * place  # px from the side that it comes from
    p: Values = {"radius": radius, "x": near, "vx": v}
    if record.material in RESTITUTION and record.contact:
        p["restitution"] = RESTITUTION[record.material] if record.contact == "bounces" else 0.0
    if record.scene == "slide":
        p["friction"] = FRICTION[record.material]
    elif record.scene == "throw":
        p |= {"y": 17.0 + 3.0 * height, "vy": -1.4}
    elif record.scene == "drop":
        p |= {"x": 10.0 + 12.0 * place, "y": 5.0 + 4.0 * height, "vx": 0.0, "vy": v}
    elif record.scene == "collide":
        p |= {"other_x": 15.0 + 2.0 * height, "other_vx": 0.0}
    elif record.scene == "meet":
        p |= {"other_x": 24.0 + 3.0 * height, "other_vx": -v}
    elif record.scene == "wall":
        p |= {"x": near + 4.0, "side": 1.0}
    elif record.scene == "pendulum":
        p = {
            "radius": radius,
            "length": STRING[record.speed],
            "angle": -0.42 - 0.18 * place,
            "phase": 0.0,
        }
    elif record.scene == "water":
        up = record.material == "wood"
        p |= {
            "x": 12.0 + 4.0 * place,
            "y": 20.0 - 3 * height if up else 11.0 + 3 * height,
            "vx": DRIFT,
            "vy": -v if up else v,
        }
    return {name: np.array([value]) for name, value in _mirror(p, sign).items()}


def pour_volume(speed: float, width: float) -> Array:
    """Volume [T] (px^2) on the ground: what has left the spout and landed is conserved."""
    return speed * width * TIMES[0]


def _mirror(p: Values, sign: float) -> Values:
    """The same scene seen in a mirror, for motion to the left."""
    if sign > 0:
        return p
    flipped = dict(p)
    for name in ("x", "other_x"):
        if name in p:
            flipped[name] = SIZE - p[name]
    for name in ("vx", "other_vx", "angle", "side"):
        if name in p:
            flipped[name] = -p[name]
    return flipped


def _turn(x: Array, before: Array, after: Array, when: Array) -> Array:
    """Position of uniform motion whose velocity changes once."""
    late = np.maximum(TIMES - when, 0)  # inf - inf does not occur: TIMES is finite
    return x + before * np.minimum(TIMES, when) + after * late


def _points(x: Array, y: Array | float) -> Array:
    """[B, T] coordinates (either may broadcast) as [B, T, 1, 2]."""
    x, y = np.broadcast_arrays(x + 0 * TIMES, y + 0 * TIMES)
    return np.stack([x, y], axis=-1)[:, :, None]
