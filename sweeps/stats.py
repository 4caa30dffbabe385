"""Paired statistics of a table: prompts crossed with seeds.

Every variant is judged on the same prompts for each training seed, so the differences of two
variants are a matrix `D[s, p]` with the model `D = mu + seed_s + prompt_p + rest_sp`. With mean
squares from the two-way layout, the variance of the grand mean is (design, section 6)

    var = (MS_s + MS_p - MS_sp) / (S P),  floored at max(MS_s, MS_p) / (S P).

Seeds are random: the claim is about training again. With one seed it is about prompts alone, and
`Estimate.seeds_random` says so. Two things make this hold with 3 seeds (docs/coverage.md):

- `MS_s` has 2 degrees of freedom there. A table has more rows, and the row x seed residual of their
  means has (R - 1)(S - 1): it is used for `MS_s`, on the assumption that training again moves
  every row about alike. It is never taken below the contrast's own `MS_s`, so a row or baseline
  that moves twice as much does not break the test either (docs/coverage.md simulates that). The
  base is not trained: it is no part of the pool, and a difference from it has its own `MS_s`.
- The critical value is Cochran and Cox's: the mean of the t quantiles of the parts, weighted with
  their shares of the variance. Satterthwaite's degrees of freedom, estimated from the same mean
  squares, are too many exactly where `MS_s` came out too small: with 3 seeds and without pooling
  Holm's family-wise size was 14 %.

A pooled or nested standard error would be too small, and a bootstrap over 3 seeds cannot cover.
`coverage.py` simulates this over a grid of variance ratios (docs/coverage.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Part = tuple[Any, float]  # a part of the mean's variance ([...] or a number), degrees of freedom
ALPHA = 0.05
POWER = 0.80


@dataclass(frozen=True)
class Estimate:
    """A mean over prompts and seeds with its 95 % interval. Units: those of the scores."""

    mean: float
    low: float
    high: float
    se: float  # 0 for a constant column
    p: float  # two-sided, of mean == 0; nan where nothing can be said
    seeds: int
    prompts: int
    parts: tuple[tuple[float, float], ...] = ()  # (variance, degrees of freedom); sum: se squared

    @property
    def half(self) -> float:
        return (self.high - self.low) / 2

    @property
    def seeds_random(self) -> bool:
        return self.seeds > 1


@dataclass(frozen=True)
class Components:
    """Variances of the seed effect, the prompt effect and the rest (interaction and noise)."""

    seed: float
    prompt: float
    rest: float


@dataclass(frozen=True)
class Pool:
    """How training seeds move the means over prompts of a table's `R` trained rows.

    From `m[r, s] = mu + row_r + seed_s + rest_rs`: what a seed does to all rows alike cancels in
    the difference of two of them, `rest` does not.
    """

    common: Any  # mean square of seeds, S - 1 degrees of freedom; [...] or a number
    rest: Any  # mean square of the row x seed residual, (R - 1)(S - 1)
    rows: int
    seeds: int

    def of_difference(self, seeds: int) -> list[Part]:
        """Variance of the difference of two trained rows' means over `seeds` seeds."""
        return [(2 * self.rest / seeds, (self.rows - 1.0) * (self.seeds - 1.0))]

    def of_row(self, seeds: int) -> list[Part]:
        """The same of one trained row."""
        R, S = self.rows, self.seeds
        return [
            (self.common / R / seeds, S - 1.0),
            ((R - 1) / R * self.rest / seeds, (R - 1.0) * (S - 1.0)),
        ]


def pool(m: Array) -> Pool | None:
    """Pools `m[..., R, S]`; `None` where there are fewer than 2 rows or 2 seeds."""
    R, S = m.shape[-2:]
    if min(R, S) < 2:
        return None
    common, _, rest = mean_squares(np.swapaxes(m, -1, -2))  # seeds, rows, residual
    return Pool(common, rest, R, S)


def mean_squares(d: Array) -> tuple[Array, Array, Array]:
    """`(MS_s, MS_p, MS_sp)` of `d[..., S, P]`, each `[...]`; nan where there is no freedom left."""
    S, P = d.shape[-2:]
    by_seed = d.mean(-1, keepdims=True)  # [..., S, 1]
    by_prompt = d.mean(-2, keepdims=True)  # [..., 1, P]
    grand = d.mean((-2, -1), keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        ms_s = P * ((by_seed - grand) ** 2).sum((-2, -1)) / np.float64(S - 1)
        ms_p = S * ((by_prompt - grand) ** 2).sum((-2, -1)) / np.float64(P - 1)
        rest = d - by_seed - by_prompt + grand
        ms_sp = (rest**2).sum((-2, -1)) / np.float64((S - 1) * (P - 1))
    return ms_s, ms_p, ms_sp


def parts_of(d: Array, seeds: Sequence[Part] | None = None) -> list[Part]:
    """The parts of the variance of `d[..., S, P]`'s grand mean: of seeds, then of prompts.

    `seeds`, from a `Pool`, replaces the seeds' part that `d` itself shows, where it is not smaller.
    """
    S, P = d.shape[-2:]
    v_s, v_p, v_sp = (x / (S * P) for x in mean_squares(d))
    if S == 1:
        return [(v_p, P - 1.0)]
    own: list[Part] = [(v_s, S - 1.0)]
    seeds = at_least(seeds, v_s) if seeds else own
    if P == 1:
        return list(seeds)
    total = sum(variance for variance, _ in seeds)
    return [*seeds, (np.maximum(np.maximum(v_p - v_sp, v_p - total), 0), P - 1.0)]


def at_least(parts: Sequence[Part], floor: Array) -> list[Part]:
    """`parts`, scaled up together where their sum is below `floor`."""
    total = sum(variance for variance, _ in parts)
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = np.where(total > 0, np.maximum(floor / total, 1), 1)
    scaled = [(variance * factor, df) for variance, df in parts]
    missing = np.where(total > 0, 0, floor)  # nothing to scale
    return [(scaled[0][0] + missing, scaled[0][1]), *scaled[1:]]


def variance_of_mean(d: Array, seeds: Sequence[Part] | None = None) -> Array:
    """Variance of the grand mean of `d[..., S, P]`, `[...]`."""
    return np.asarray(sum(variance for variance, _ in parts_of(d, seeds)))


def critical(parts: Sequence[Part], alpha: float = ALPHA) -> Any:
    """Cochran and Cox's two-sided critical value of mean / se: the parts' t quantiles, weighted."""
    from scipy import special

    with np.errstate(invalid="ignore", divide="ignore"):
        return sum(variance * -special.stdtrit(df, alpha / 2) for variance, df in parts) / sum(
            variance for variance, _ in parts
        )


def p_value(t: float, parts: Sequence[Part]) -> float:
    """The level at which `|t|` is critical."""
    from scipy import optimize

    def excess(log_p: float) -> float:
        return float(critical(parts, 10**log_p)) - abs(t)

    if excess(0.0) >= 0:
        return 1.0
    return 0.0 if excess(-100.0) < 0 else float(10 ** optimize.brentq(excess, -100.0, 0.0))


def estimate(scores: Array, seeds: Sequence[Part] | None = None, alpha: float = ALPHA) -> Estimate:
    """The mean of `scores[S, P]` (or of paired differences) with its interval.

    `seeds`: the seeds' part of the variance, pooled over a table (`Pool`). A constant matrix has no
    spread to estimate: a zero-width interval, and p is 1 where it is zero and 0 where it is not, as
    the limit. A single number gives nan bounds.
    """
    scores = np.asarray(scores, float)
    if scores.ndim != 2 or scores.size == 0 or not np.isfinite(scores).all():
        raise ValueError(f"scores of shape {scores.shape} are not a finite [seeds, prompts] matrix")
    S, P = scores.shape
    mean = float(scores.mean())
    if scores.size == 1:
        return Estimate(mean, np.nan, np.nan, np.nan, np.nan, S, P)
    parts = tuple((float(variance), df) for variance, df in parts_of(scores, seeds))
    se = sum(variance for variance, _ in parts) ** 0.5
    if se <= 1e-12 * max(1.0, abs(mean)):  # constant, up to rounding of the means
        return Estimate(mean, mean, mean, 0.0, float(abs(mean) <= 1e-12), S, P)
    half = float(critical(parts, alpha)) * se
    return Estimate(mean, mean - half, mean + half, se, p_value(mean / se, parts), S, P, parts)


def bootstrap(
    scores: Array, *, seed: int = 0, draws: int = 4000, alpha: float = ALPHA
) -> tuple[float, float]:
    """Percentile interval of the crossed bootstrap: seeds and prompts resampled independently.

    A cross-check only: with 3 seeds it covers too little where seeds differ.
    """
    of_seeds, of_prompts = _resampled(*scores.shape, seed, draws)
    means = ((of_seeds @ scores) * of_prompts).sum(-1)
    low, high = np.quantile(means, [alpha / 2, 1 - alpha / 2])
    return float(low), float(high)


@lru_cache(maxsize=4)
def _resampled(S: int, P: int, seed: int, draws: int) -> tuple[Array, Array]:
    """Weights of the seeds [draws, S] and of the prompts [draws, P]: the same for a whole table."""
    rng = np.random.default_rng(seed)
    return (
        rng.multinomial(S, np.full(S, 1 / S), draws) / S,
        rng.multinomial(P, np.full(P, 1 / P), draws) / P,
    )


def holm(p: list[float]) -> list[float]:
    """Holm's step-down adjusted p values, in the order given. (SciPy has only false discovery.)"""
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = running
    return adjusted.tolist()


def detectable(found: Estimate, contrasts: int = 1, alpha: float = ALPHA) -> float:
    """The smallest true difference found with 80 % power by a two-sided test at alpha/contrasts.

    alpha/contrasts is Holm's first and hardest step, so this is the worst case of the family. nan
    where the differences are constant.
    """
    from scipy import special

    if not found.se > 0:  # constant: no spread to plan with
        return float("nan")
    bar = critical(found.parts, alpha / contrasts)
    # The noncentrality at which 1 - POWER of the noncentral t lies below the bar, part by part.
    shift = sum(v * special.nctdtrinc(df, 1 - POWER, bar) for v, df in found.parts)
    return float(shift / found.se)  # sum(v shift) / se^2, times se


def components(d: Array) -> Components:
    """Variance components of a pilot's `d[S, P]` (S, P at least 2), negative estimates set to 0."""
    S, P = d.shape
    if S < 2 or P < 2:
        raise ValueError(f"variance components need 2 seeds and 2 prompts, got {S} and {P}")
    ms_s, ms_p, ms_sp = (float(x) for x in mean_squares(d))
    return Components(max(0.0, (ms_s - ms_sp) / P), max(0.0, (ms_p - ms_sp) / S), ms_sp)
