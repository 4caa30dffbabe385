"""The law of a pour: what lies on the ground is what has left the spout, at one constant rate."""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np

from .law import PACE, Candidate
from .motion import FRAMES, SPEED, Array
from .render import STREAM_WIDTH, X, Y, pour_mask
from .track import Track

RATES = np.linspace(0.3, 1.6, 40)  # px / frame through the spout


def nearest(track: Track, candidate: Candidate) -> tuple[float, str, float]:
    """The nearest ideal pour: its rms over the features, px; material; rate, px a frame.

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
    return best


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
