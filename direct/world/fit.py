"""The best admissible law: closed-form motions fitted to tracks, initial conditions free.

All candidates are fitted at once by damped Gauss-Newton over a batch of closed-form paths.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import pour
from .law import Candidate
from .motion import GRAVITY, OTHER_RADIUS, PIVOT, SIZE, SPEED, Array, Values, path
from .record import SCENES
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
CONSTANTS = ("restitution", "friction", "length")  # of a law; gravity is the world's
# (theta [M, n], rows [M]) -> [M, residuals]; `rows` says which start each line belongs to.
Errors = Callable[[Array, Array], Array]
ITERATIONS = 14
JITTER = 0.2  # px: the 99.5th percentile of what the VAE adds to ground truth from frame to frame


@dataclass(frozen=True)
class Fit:
    """The best candidate: how far off it is, the fitted values and the fitted path."""

    candidate: Candidate
    rms: float  # px
    residual: float  # px: rms without a codec's jitter
    constants: float  # px rms that other constants of the same law would explain
    values: dict[str, float]
    path: Array  # [T, objects, 2]; empty for a pour
    order: tuple[int, ...]  # which track is which object


def best_fit(reading: Reading, candidates: list[Candidate]) -> Fit | None:
    """The nearest candidate; None where nothing can be fitted."""
    scenes = dict.fromkeys(candidate.scene for candidate in candidates)
    groups = [[one for one in candidates if one.scene == scene] for scene in scenes]
    fits = [fit for group in groups if (fit := _fit(reading, group)) is not None]
    return min(fits, key=lambda fit: fit.rms) if fits else None


def _fit(reading: Reading, candidates: list[Candidate]) -> Fit | None:
    """The best of candidates of one scene."""
    count = SCENES[candidates[0].scene].objects
    if len(reading.tracks) < count:
        return None
    if candidates[0].scene == "pour":
        rms, material, rate = pour.nearest(reading.tracks[0], candidates[0])
        law = Candidate("pour", material, "", candidates[0].speed)
        return Fit(law, rms, rms, 0.0, {"rate": rate}, np.empty(0), (0,))
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
    starts = np.tile(_starts(tracks, scene), (len(candidates), 1))  # [B, n], B = laws x guesses
    which = np.repeat(np.arange(len(candidates)), len(starts) // len(candidates))  # [B]: whose law
    low, high = (  # [B, n]
        np.array([[one.bounds.get(name, (-1e3, 1e3))[end] for name in names] for one in candidates])
        for end in (0, 1)
    )
    laws = [{"radius": tracks[0].radius, **one.constants()} for one in candidates]
    fixed = {name: np.array([one[name] for one in laws]) for name in laws[0]}
    freed = tuple(name for name in CONSTANTS if name in fixed)

    def simulate(theta: Array, law: Array) -> Array:
        """[B, n] -> [B, T, K, 2]. theta: where things start, and then the constants if free."""
        values: Values = {name: value[law] for name, value in fixed.items()}
        values |= dict(zip((*names, *freed), theta.T, strict=False))
        if scene == "wall":
            values["side"] = np.sign(values["vx"])
        return path(scene, values)

    def errors(theta: Array, law: Array) -> Array:  # [B, T K 2], zero where it is not clear
        return ((simulate(theta, law) - observed) * clear[..., None]).reshape(len(theta), -1)

    theta = gauss_newton(lambda t, row: errors(t, which[row]), starts, low[which], high[which])
    paths = simulate(theta, which)
    # Cut by the picture's edge, an object's place is not known; but not well inside of it either.
    margin = np.array([track.radius for track in tracks])[:, None] + 1
    inside = ((paths > margin) & (paths < SIZE - margin)).all(-1)  # [B, T, K]
    counted = clear | (visible & inside)
    squares = ((paths - observed) ** 2).sum(-1) * counted
    rms = np.sqrt(squares.sum((1, 2)) / counted.sum((1, 2)))
    best = int(np.argmin(rms))
    law = which[best]
    missed = departure(paths[best] - observed, counted[best], JITTER)
    start = np.array([*theta[best], *(fixed[name][law] for name in freed)])
    ends = (np.append(low[law], [1e-3] * len(freed)), np.append(high[law], [1e3] * len(freed)))
    gain = explained(lambda t, _: errors(t, np.full(len(t), law)), start, *ends) if freed else 0.0
    values = {name: float(theta[best, k]) for k, name in enumerate(names)}
    wrong = float(np.sqrt(gain / clear.sum()))
    return Fit(candidates[law], float(rms[best]), missed, wrong, values, paths[best], order)


def departure(errors: Array, counted: Array, jitter: float) -> float:
    """rms of errors [T, K, n] where `counted` [T, K], less a jitter of at most `jitter`.

    A broken law departs for many frames at a time; a codec moves an object by itself in every frame
    anew. The latter is half the mean square of successive differences (von Neumann 1941).
    """
    both = counted[1:] & counted[:-1]
    square = ((errors**2).sum(-1) * counted).sum() / counted.sum()
    steps = ((np.diff(errors, axis=0) ** 2).sum(-1) * both).sum() / (2 * max(both.sum(), 1))
    return float(np.sqrt(square - min(steps, jitter**2, square)))


def explained(errors: Errors, start: Array, low: Array, high: Array) -> float:
    """By how much the sum of squared errors falls from `start` [n] on, within bounds."""
    free = gauss_newton(errors, start[None], low[None], high[None])
    only = np.zeros(1, int)
    return max(float((errors(start[None], only) ** 2).sum() - (errors(free, only) ** 2).sum()), 0.0)


def gauss_newton(errors: Errors, theta: Array, low: Array, high: Array) -> Array:
    """Damped Gauss-Newton for a batch of starts [B, n], clipped to bounds; keeps what improves."""
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
    """Several guesses [S, n]: from the first two or four clear frames, and every nominal speed."""
    early_x, early_vx, early_y, early_vy = _early(tracks[0], 4)
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
            guess["other_x"], guess["other_vx"], _, _ = _early(tracks[1], 4)
        guesses.append(guess)
    if len(tracks) == 2:  # they may meet within four frames
        (x, vx, _, _), (other_x, other_vx, _, _) = _early(tracks[0], 2), _early(tracks[1], 2)
        guesses.append({"x": x, "vx": vx, "other_x": other_x, "other_vx": other_vx})
    return np.array([[guess[name] for name in FREE[scene]] for guess in guesses])


def _early(track: Track, count: int) -> tuple[float, float, float, float]:
    """x, vx, y, vy at frame 0, by a line through the first `count` clear frames."""
    frames = np.flatnonzero(track.clear)[:count]
    mean, xy = frames.mean(), track.xy[frames]
    centred = frames - mean
    v = centred @ xy / (centred @ centred)
    start = xy.mean(0) - v * mean
    return float(start[0]), float(v[0]), float(start[1]), float(v[1])
