"""The best admissible law: closed-form motions fitted to tracks, initial conditions free.

A law's constants (gravity, restitutions, frictions, string lengths) are the world's; what a film
may choose is where things start and how fast. All candidates are fitted at once by damped
Gauss-Newton over a batch of closed-form paths.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from itertools import product

import numpy as np

from .motion import (
    FRAMES,
    FRICTION,
    GRAVITY,
    OTHER_RADIUS,
    PIVOT,
    RESTITUTION,
    SIZE,
    SPEED,
    SPEED_JITTER,
    STRING,
    Array,
    Values,
    path,
)
from .record import SCENES, Record
from .render import STREAM_WIDTH, X, Y, pour_mask
from .track import Reading, Track

FREE = {
    "glide": ("x", "vx"),
    "slide": ("x", "vx"),
    "wall": ("x", "vx"),
    "throw": ("x", "y", "vx", "vy"),
    "drop": ("x", "y", "vy"),
    "collide": ("x", "vx", "other_x"),
    "meet": ("x", "vx", "other_x", "other_vx"),
    "pendulum": ("angle", "phase"),
    "water": ("x", "y", "vx", "vy"),
}
PACE = 1.5 * SPEED_JITTER  # how far from its nominal speed a captioned motion may be, relative
ITERATIONS = 14


@dataclass(frozen=True)
class Candidate:
    """One law with its constants: a scene and the values of the fields that choose them."""

    scene: str
    material: str = ""
    contact: str = ""
    speed: str = ""
    direction: str = ""
    bounds: dict[str, tuple[float, float]] = field(default_factory=dict, hash=False)

    def constants(self) -> dict[str, float]:
        values: dict[str, float] = {}
        if self.contact:
            bounces = self.contact == "bounces"
            values["restitution"] = RESTITUTION[self.material] if bounces else 0.0
        if self.scene == "slide":
            values["friction"] = FRICTION[self.material]
        if self.scene == "pendulum":
            values["length"] = STRING[self.speed]
        if self.scene == "drop":
            values["vx"] = 0.0
        if self.scene == "collide":
            values["other_vx"] = 0.0
        return values


@dataclass(frozen=True)
class Fit:
    """The best candidate: its residual (rms, px), the fitted values and the fitted path."""

    candidate: Candidate
    residual: float
    values: dict[str, float]
    path: Array  # [T, objects, 2]; empty for a pour
    order: tuple[int, ...]  # which track is which object


# With free starts a fall is a throw, and an impact on a ball at rest one on a ball that moves.
SPECIAL_CASES = ("drop", "collide")


def admissible(reading: Reading) -> list[Candidate]:
    """Every law that the stage and the number of objects admit; the caption is not known."""
    setting = reading.stage.setting
    objects = min(len(reading.tracks), 2) if setting == "ice" else 1
    scenes = [
        name
        for name, scene in SCENES.items()
        if scene.setting == setting and scene.objects == objects and name not in SPECIAL_CASES
    ]
    return [candidate for scene in scenes for candidate in _variants(scene)]


@cache
def _variants(scene: str) -> tuple[Candidate, ...]:
    kind = SCENES[scene]
    speeds = tuple(STRING) if scene == "pendulum" else ("",)
    if not kind.contacts:
        found = [Candidate(scene, m, "", v) for m, v in product(kind.materials or ("",), speeds)]
        return tuple(found if scene in ("slide", "pendulum") else found[:1])
    return (
        *(Candidate(scene, m, "bounces") for m in kind.materials),
        Candidate(scene, "", "sticks"),
    )


def captioned(record: Record) -> Candidate:
    """The one law of a caption, with its speed and direction as bounds."""
    speed = SPEED.get(record.scene, {}).get(record.speed, 0.0)
    sign = -1 if record.direction == "left" else 1
    bounds: dict[str, tuple[float, float]] = {}
    if record.scene == "drop":
        bounds["vy"] = _around(speed)
    elif record.scene == "water":
        bounds["vy"] = _around(-speed if record.material == "wood" else speed)
        bounds["vx"] = (0.05, 1.0) if sign > 0 else (-1.0, -0.05)
    elif record.scene == "pendulum":
        bounds["angle"] = (-1.2, -0.2) if sign > 0 else (0.2, 1.2)
    elif record.scene != "pour":
        bounds["vx"] = _around(sign * speed)
    return Candidate(
        record.scene, record.material, record.contact, record.speed, record.direction, bounds
    )


def _around(speed: float) -> tuple[float, float]:
    low, high = sorted((speed * (1 - PACE), speed * (1 + PACE)))
    return low - 0.05, high + 0.05


def best_fit(reading: Reading, candidates: list[Candidate]) -> Fit | None:
    """The candidate with the least residual; None where nothing can be fitted."""
    scenes = dict.fromkeys(candidate.scene for candidate in candidates)
    groups = [[one for one in candidates if one.scene == scene] for scene in scenes]
    fits = [fit for group in groups if (fit := _fit(reading, group)) is not None]
    return min(fits, key=lambda fit: fit.residual) if fits else None


def _fit(reading: Reading, candidates: list[Candidate]) -> Fit | None:
    """The best of candidates of one scene."""
    count = SCENES[candidates[0].scene].objects
    if len(reading.tracks) < count:
        return None
    if candidates[0].scene == "pour":
        return fit_pour(reading.tracks[0], candidates[0])
    order: tuple[int, ...] = (0,)
    if count == 2:  # the second object's size is the world's, so it is known which one it is
        second = int(np.argmin([abs(track.radius - OTHER_RADIUS) for track in reading.tracks[:2]]))
        order = (1 - second, second)
    return _fit_tracks([reading.tracks[k] for k in order], candidates, order)


def _fit_tracks(
    tracks: list[Track], candidates: list[Candidate], order: tuple[int, ...]
) -> Fit | None:
    clear = np.stack([track.clear for track in tracks], axis=1)  # [T, K]
    if (clear.sum(0) < 3).any():
        return None
    xy = np.stack([track.xy for track in tracks], axis=1)  # [T, K, 2]
    visible, observed = np.isfinite(xy[..., 0]), np.nan_to_num(xy)
    scene, names = candidates[0].scene, FREE[candidates[0].scene]
    starts = _starts(tracks, scene)  # [S, n]
    which = np.repeat(np.arange(len(candidates)), len(starts))  # [B]: whose start it is
    low, high = (  # [B, n]
        np.array([[one.bounds.get(name, (-1e3, 1e3))[end] for name in names] for one in candidates])
        for end in (0, 1)
    )
    constants = [{"radius": tracks[0].radius, **one.constants()} for one in candidates]
    fixed = {name: np.array([one[name] for one in constants])[which] for name in constants[0]}

    def simulate(theta: Array, rows: Array) -> Array:  # [B, n] -> [B, T, K, 2]
        values: Values = {name: value[rows] for name, value in fixed.items()}
        values |= {name: theta[:, k] for k, name in enumerate(names)}
        if scene == "wall":
            values["side"] = np.sign(values["vx"])
        return path(scene, values)

    def errors(theta: Array, rows: Array) -> Array:  # [B, T K 2], zero where it is not clear
        return ((simulate(theta, rows) - observed) * clear[..., None]).reshape(len(theta), -1)

    theta = gauss_newton(errors, np.tile(starts, (len(candidates), 1)), low[which], high[which])
    paths = simulate(theta, np.arange(len(theta)))
    # Cut by the picture's edge, an object's place is not known; but not well inside of it either.
    margin = np.array([track.radius for track in tracks])[:, None] + 1
    inside = ((paths > margin) & (paths < SIZE - margin)).all(-1)  # [B, T, K]
    counted = clear | (visible & inside)
    squares = ((paths - observed) ** 2).sum(-1) * counted
    rms = np.sqrt(squares.sum((1, 2)) / counted.sum((1, 2)))
    best = int(np.argmin(rms))
    values = {name: float(theta[best, k]) for k, name in enumerate(names)}
    return Fit(candidates[which[best]], float(rms[best]), values, paths[best], order)


def gauss_newton(
    errors: Callable[[Array, Array], Array], theta: Array, low: Array, high: Array
) -> Array:
    """Damped Gauss-Newton for a batch of starts [B, n], clipped to bounds; keeps what improves.

    errors(theta [M, n], rows [M]) -> [M, residuals]; `rows` says which start each line belongs to.
    """
    batch, n = theta.shape
    theta = np.clip(theta, low, high)
    damping = np.full(batch, 1e-3)
    rows, step = np.arange(batch), 1e-4
    shifts, eye = step * np.eye(n), np.eye(n)
    each = np.repeat(rows, n)
    r = errors(theta, rows)
    cost = (r**2).sum(1)
    for iteration in range(ITERATIONS):
        moved = errors((theta[:, None] + shifts).reshape(-1, n), each).reshape(batch, n, -1)
        jacobian = (moved - r[:, None]) / step
        normal = jacobian @ jacobian.transpose(0, 2, 1)
        scale = normal * eye + 1e-9 * eye
        gradient = (jacobian @ r[..., None])[..., 0]
        move = np.linalg.solve(normal + damping[:, None, None] * scale, gradient[..., None])[..., 0]
        trial = np.clip(theta - move, low, high)
        trial_r = errors(trial, rows)
        trial_cost = (trial_r**2).sum(1)
        better = trial_cost < cost
        settled = (cost - trial_cost < 1e-5 * cost + 1e-9).all()
        theta, r = np.where(better[:, None], trial, theta), np.where(better[:, None], trial_r, r)
        cost = np.where(better, trial_cost, cost)
        damping = np.clip(np.where(better, damping / 5, damping * 8), 1e-6, 1e6)
        if settled and iteration > 4:
            break
    return theta


def _starts(tracks: list[Track], scene: str) -> Array:
    """Several guesses [S, n]: from the first clear frames, and from every nominal speed."""
    early_x, early_vx, early_y, early_vy = _early(tracks[0])
    if scene == "pendulum":
        angle = np.arctan2(early_x - PIVOT[0], max(early_y - PIVOT[1], 1.0))
        near = [(angle * s, 0.5 + 4.0 * k) for s in (1, 1.3) for k in (0, 1, 2)]
        return np.array([*near, (0.7, 8.0), (-0.7, 8.0)])
    sign = np.sign(early_vx) if abs(early_vx) > 0.1 else np.sign(16 - early_x)
    guesses: list[dict[str, float]] = []
    for vx in [early_vx, *(sign * v for v in SPEED[scene].values())]:
        guess = {"x": early_x, "y": early_y, "vx": vx, "vy": early_vy - GRAVITY / 2}
        if scene == "water":
            guess["vx"], guess["vy"] = early_vx, np.sign(early_vy) * abs(vx)
        if scene == "drop":
            guess["vy"] = abs(vx)
        if len(tracks) == 2:
            guess["other_x"], guess["other_vx"], _, _ = _early(tracks[1])
        guesses.append(guess)
    return np.array([[guess[name] for name in FREE[scene]] for guess in guesses])


def _early(track: Track) -> tuple[float, float, float, float]:
    """x, vx, y, vy at frame 0, by a line through the first four clear frames."""
    frames = np.flatnonzero(track.clear)[:4]
    mean, xy = frames.mean(), track.xy[frames]
    centred = frames - mean
    v = centred @ xy / (centred @ centred)
    start = xy.mean(0) - v * mean
    return float(start[0]), float(v[0]), float(start[1]), float(v[1])


RATES = np.linspace(0.3, 1.6, 40)  # px / frame through the spout


def fit_pour(track: Track, candidate: Candidate) -> Fit:
    """Conservation: what lies on the ground is what has left the spout, at one constant rate.

    A captioned candidate fixes material and rate; size is read by `SA`, not here.
    """
    materials = (candidate.material,) if candidate.material else ("sand", "water")
    if not candidate.speed:
        materials = ("sand", "water")
    nominal = SPEED["pour"].get(candidate.speed)
    observed = _pour_features(track.mass, np.nan_to_num(track.xy[:, 1]), track.spread)
    wander = (
        np.nan_to_num(track.xy[:, 0] - np.nanmedian(track.xy[:, 0])) if track.clear.any() else 0
    )
    place = 16 + round(float(np.nanmedian(track.xy[:, 0])) * 4) % 4 / 4  # to a quarter pixel
    best: tuple[float, str, float] = (np.inf, "sand", 0.0)
    for material, size in product(materials, STREAM_WIDTH):
        table = _pour_table(material, size, place)
        step = table[1:] - table[:-1]
        share = ((observed - table[:-1]) * step).sum((1, 2)) / (step**2).sum((1, 2))
        rate = RATES[:-1] + np.clip(share, 0, 1) * (RATES[1] - RATES[0])
        if nominal is not None:
            rate = np.clip(rate, nominal * (1 - PACE), nominal * (1 + PACE))
        share = np.clip((rate - RATES[:-1]) / (RATES[1] - RATES[0]), -1, 2)
        near = abs(share - 0.5) <= 0.51
        difference = observed - table[:-1] - share[:, None, None] * step
        rms = np.sqrt((difference**2).sum((1, 2)) / FRAMES + np.mean(np.square(wander)))
        rms = np.where(near, rms, np.inf)
        k = int(np.argmin(rms))
        best = min(best, (float(rms[k]), material, float(rate[k])))
    return Fit(
        Candidate("pour", best[1], "", candidate.speed),
        best[0],
        {"rate": best[2]},
        np.empty(0),
        (0,),
    )


@cache
def _pour_table(material: str, size: str, place: float) -> Array:
    """Features [rates, T, 3] of ideal pours at x = `place`, px."""
    rows = []
    for rate in RATES:
        volume = rate * STREAM_WIDTH[size] * np.arange(FRAMES)
        alpha = pour_mask(volume, np.full(FRAMES, place), material, size)
        mass = np.maximum(alpha.sum((1, 2)), 1e-9)
        x, y = (alpha * X).sum((1, 2)) / mass, (alpha * Y).sum((1, 2)) / mass
        spread = np.sqrt(np.maximum((alpha * X**2).sum((1, 2)) / mass - x**2, 0))
        rows.append(_pour_features(mass, y, spread))
    return np.stack(rows)


def _pour_features(mass: Array, y: Array, spread: Array) -> Array:
    """Lengths in px [T, 3]: the root of the coverage, the height and the width of what is seen."""
    return np.stack([np.sqrt(mass), y, spread], axis=-1)
