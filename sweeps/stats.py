"""Paired statistics of a table: prompts crossed with seeds.

Every variant is judged on the same prompts for each training seed, so the differences of two
variants are a matrix `D[s, p]` with the model `D = mu + seed_s + prompt_p + rest_sp`. With mean
squares from the two-way layout, the variance of the grand mean is (design, section 6)

    var = (MS_s + MS_p - MS_sp) / (S P),  floored at max(MS_s, MS_p) / (S P),

and the interval is a t with Satterthwaite degrees of freedom. Seeds are random: the claim is about
training again. With one seed it is about prompts alone, and `Estimate.seeds_random` says so.
A pooled or nested standard error would be too small, and a bootstrap over 3 seeds cannot cover.
With 3 seeds or more the interval covers at least 92 % (docs/coverage.md); with 2, 87 % at worst.
The far tail that Holm reads is another matter: where seeds differ much, 2 degrees of freedom can
miss it, and the family-wise size rises to 14 % at 3 seeds and 8 % at 5. More seeds, not more
prompts, mend this; so would one seed variance pooled over a table's rows, if they were alike.

    python -m sweeps.stats          # coverage over a grid of variance ratios, as a table
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
ALPHA = 0.05
POWER = 0.80


@dataclass(frozen=True)
class Estimate:
    """A mean over prompts and seeds with its 95 % interval. Units: those of the scores."""

    mean: float
    low: float
    high: float
    se: float  # 0 for a constant column
    df: float
    p: float  # two-sided, of mean == 0; nan where nothing can be said
    seeds: int
    prompts: int

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


def variance_of_mean(d: Array) -> tuple[Array, Array]:
    """Variance of the grand mean of `d[..., S, P]` and its degrees of freedom, each `[...]`."""
    S, P = d.shape[-2:]
    ms_s, ms_p, ms_sp = mean_squares(d)
    if S == 1:
        return ms_p / P, np.full(ms_p.shape, P - 1.0)
    if P == 1:
        return ms_s / S, np.full(ms_s.shape, S - 1.0)
    free = ms_s + ms_p - ms_sp
    floor = np.maximum(ms_s, ms_p)
    with np.errstate(invalid="ignore", divide="ignore"):
        satterthwaite = free**2 / (
            ms_s**2 / (S - 1) + ms_p**2 / (P - 1) + ms_sp**2 / ((S - 1) * (P - 1))
        )
    at_floor = np.where(ms_s >= ms_p, S - 1.0, P - 1.0)
    df = np.where(free > floor, satterthwaite, at_floor)
    return np.maximum(free, floor) / (S * P), df


def estimate(scores: Array, alpha: float = ALPHA) -> Estimate:
    """The mean of `scores[S, P]` (or of paired differences) with its interval.

    A constant matrix has no spread to estimate: a zero-width interval, and p is 1 where it is zero
    and 0 where it is not, as the limit. A single number gives nan bounds.
    """
    from scipy import special

    scores = np.asarray(scores, float)
    if scores.ndim != 2 or scores.size == 0 or not np.isfinite(scores).all():
        raise ValueError(f"scores of shape {scores.shape} are not a finite [seeds, prompts] matrix")
    S, P = scores.shape
    mean = float(scores.mean())
    if scores.size == 1:
        return Estimate(mean, np.nan, np.nan, np.nan, np.nan, np.nan, S, P)
    variance, df = (float(x) for x in variance_of_mean(scores))
    se = variance**0.5
    if se <= 1e-12 * max(1.0, abs(mean)):  # constant, up to rounding of the means
        return Estimate(mean, mean, mean, 0.0, df, float(abs(mean) <= 1e-12), S, P)
    half = float(special.stdtrit(df, 1 - alpha / 2)) * se
    p = float(2 * special.stdtr(df, -abs(mean) / se))
    return Estimate(mean, mean - half, mean + half, se, df, p, S, P)


def bootstrap(scores: Array, *, seed: int = 0, draws: int = 4000, alpha: float = ALPHA
              ) -> tuple[float, float]:
    """Percentile interval of the crossed bootstrap: seeds and prompts resampled independently.

    A cross-check only: with 3 seeds it covers too little where seeds differ.
    """
    S, P = scores.shape
    rng = np.random.default_rng(seed)
    of_seeds = rng.multinomial(S, np.full(S, 1 / S), draws) / S  # [draws, S]
    of_prompts = rng.multinomial(P, np.full(P, 1 / P), draws) / P
    means = ((of_seeds @ scores) * of_prompts).sum(-1)
    low, high = np.quantile(means, [alpha / 2, 1 - alpha / 2])
    return float(low), float(high)


def holm(p: list[float]) -> list[float]:
    """Holm's step-down adjusted p values, in the order given. (SciPy has only false discovery.)"""
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = running
    return adjusted.tolist()


def detectable(se: float, df: float, contrasts: int = 1, alpha: float = ALPHA) -> float:
    """The smallest true difference found with 80 % power by a two-sided t test at alpha/contrasts.

    alpha/contrasts is Holm's first and hardest step, so this is the worst case of the family. nan
    where the differences are constant.
    """
    from scipy import special

    if not se > 0:  # constant: no spread to plan with
        return float("nan")
    critical = special.stdtrit(df, 1 - alpha / (2 * contrasts))
    # The noncentrality at which 1 - POWER of the noncentral t lies below the critical value.
    return float(special.nctdtrinc(df, 1 - POWER, critical)) * se


def components(d: Array) -> Components:
    """Variance components of a pilot's `d[S, P]` (S, P at least 2), negative estimates set to 0."""
    S, P = d.shape
    if S < 2 or P < 2:
        raise ValueError(f"variance components need 2 seeds and 2 prompts, got {S} and {P}")
    ms_s, ms_p, ms_sp = (float(x) for x in mean_squares(d))
    return Components(max(0.0, (ms_s - ms_sp) / P), max(0.0, (ms_p - ms_sp) / S), ms_sp)


def planned_detectable(parts: Components, seeds: int, prompts: int, contrasts: int = 1, *,
                       repeats: int = 1000) -> float:
    """Before the run: the difference that 80 % of simulated studies of this size would find.

    A study finds `d` when `d + error > critical * se`, so the answer is a quantile over studies.
    """
    from scipy import special

    errors = simulated(seeds, prompts, parts, repeats)
    variance, df = variance_of_mean(errors)
    critical = special.stdtrit(df, 1 - ALPHA / (2 * contrasts))
    return float(np.quantile(critical * variance**0.5 - errors.mean((-2, -1)), POWER))


def simulated(S: int, P: int, parts: Components, repeats: int, seed: int = 0) -> Array:
    """Gaussian studies of true difference 0, `[repeats, S, P]`."""
    rng = np.random.default_rng(seed)
    return (parts.seed**0.5 * rng.standard_normal((repeats, S, 1))
            + parts.prompt**0.5 * rng.standard_normal((repeats, 1, P))
            + parts.rest**0.5 * rng.standard_normal((repeats, S, P)))


def coverage(S: int, P: int, parts: Components, *, repeats: int = 4000, seed: int = 0) -> float:
    """Share of simulated studies whose 95 % interval holds the true mean (0)."""
    from scipy import special

    d = simulated(S, P, parts, repeats, seed)
    variance, df = variance_of_mean(d)
    inside = np.abs(d.mean((-2, -1))) <= special.stdtrit(df, 1 - ALPHA / 2) * variance**0.5
    return float(inside.mean())


def family_size(S: int, P: int, parts: Components, contrasts: int = 4, *, repeats: int = 4000
                ) -> float:
    """Share of simulated tables without any true difference in which Holm finds one.

    All contrasts share their baseline, so they are correlated, as in a table.
    """
    from scipy import special

    baseline = simulated(S, P, parts, repeats)
    smallest = np.ones(repeats)
    for k in range(contrasts):
        d = simulated(S, P, parts, repeats, seed=k + 1) - baseline
        variance, df = variance_of_mean(d)
        p = 2 * special.stdtr(df, -np.abs(d.mean((-2, -1))) / variance**0.5)
        smallest = np.minimum(smallest, p)
    return float((smallest < ALPHA / contrasts).mean())  # Holm's first step decides


GRID = [  # seed and prompt variance as multiples of the rest's
    Components(s, p, 1.0) for s in (0.0, 0.001, 0.01, 0.1, 1.0) for p in (0.0, 0.1, 1.0, 10.0)
]
SIZES = ((3, 192), (3, 96), (5, 96), (8, 48), (2, 192))  # seeds, prompts


def simulation(repeats: int = 2000) -> str:
    """The committed table `docs/coverage.md`: every size and variance ratio, the worst cases."""
    lines = [
        "# Do the tables' intervals and tests hold what they promise?\n",
        "Written by `python -m sweeps.stats`: simulated Gaussian studies of crossed seeds and "
        "prompts, with the variances of seeds and prompts as multiples of the rest's. Tables use 3 "
        f"seeds or more; 2 seeds are here to show why. {repeats} studies a row, so the Monte-Carlo "
        f"standard error is {100 * (0.05 * 0.95 / repeats) ** 0.5:.1f} points.\n",
        "| seeds | prompts | var seed | var prompt | coverage | family-wise size, Holm over 4 |",
        "|---|---|---|---|---|---|",
    ]
    worst: dict[bool, tuple[float, float]] = {True: (1.0, 0.0), False: (1.0, 0.0)}
    for S, P in SIZES:
        for parts in GRID:
            share = coverage(S, P, parts, repeats=repeats)
            size = family_size(S, P, parts, repeats=repeats)
            low, high = worst[S > 2]
            worst[S > 2] = min(low, share), max(high, size)
            lines.append(f"| {S} | {P} | {parts.seed:g} | {parts.prompt:g} | {100 * share:.1f} % | "
                         f"{100 * size:.1f} % |")
    for enough, name in ((True, "3 seeds or more"), (False, "2 seeds")):
        lines.append(f"\nWorst with {name}: coverage {100 * worst[enough][0]:.1f} %, family-wise "
                     f"size {100 * worst[enough][1]:.1f} %.")
    return "\n".join(lines)


if __name__ == "__main__":
    print(simulation())
