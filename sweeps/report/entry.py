"""What stands in one cell of a rendered table: a number with its interval, in printed units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..schema import METRICS
from ..table import Value

ABSENT = "–"
DIGITS = 6  # decimals at most, of a difference that fewer would print as zero


@dataclass(frozen=True)
class Entry:
    """The text of one cell of a rendered table, and how it is marked."""

    text: str
    bold: bool = False
    underline: bool = False
    interval: str = ""  # of a number: `± 0.50` or `[-0.32, +0.68]`, which may stand smaller
    mark: str = ""  # behind the interval: ` ≈`, or `, p = 0.037`

    @property
    def whole(self) -> str:
        """Everything in one line."""
        return " ".join(filter(None, (self.text, self.interval))) + self.mark


def score(value: Value | None, metric: str) -> Entry:
    if value is None:
        return Entry(ABSENT)
    show, mean = METRICS[metric], value.mean
    text = f"{show.scale * mean.mean:z.{show.decimals}f}"
    half = f"± {show.scale * mean.half:.{show.decimals}f}" if np.isfinite(mean.half) else ""
    return Entry(text, value.best, value.second, half, " ≈" * value.tied)


def change(value: Value | None, metric: str) -> Entry:
    if value is None or value.difference is None:
        return Entry(ABSENT)
    scale, d = METRICS[metric].scale, value.difference
    text, interval = signed(scale * d.mean, scale * d.low, scale * d.high, METRICS[metric].decimals)
    p = f", p {p_words(value.p_holm)}" if interval and value.p_holm is not None else ""
    return Entry(text, interval=interval, mark=p)


def signed(mean: float, low: float, high: float, decimals: int) -> tuple[str, str]:
    """A difference and its interval, in as many decimals as they need to say something.

    `("identical", "")` where the rows do not differ at all; no interval where there is none.
    """
    if mean == low == high == 0:
        return "identical", ""
    told = (high - low) / 2 or mean if np.isfinite(low) else mean
    while decimals < DIGITS and not round(told, decimals):
        decimals += 1
    texts = [f"{x:+z.{decimals}f}" for x in (mean, low, high)]
    return texts[0], f"[{texts[1]}, {texts[2]}]" if np.isfinite(low) else ""


def p_words(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def published(value: float | None, metric: str) -> Entry:
    """A published number, as printed: never scaled."""
    show = METRICS[metric]
    decimals = show.decimals if show.printed is None else show.printed
    return Entry(ABSENT if value is None else f"{value:.{decimals}f}")
