"""Simulated tables: do the intervals cover, does Holm's test hold its size, what would a run find?

A table is `rows` trained rows, each judged for `S` seeds on `P` prompts; row 0 is the baseline. The
committed answer is docs/coverage.md, written by `python -m sweeps.coverage > docs/coverage.md`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from direct.common.errors import command

from . import rounds_coverage
from .stats import (
    ALPHA,
    POWER,
    Array,
    Components,
    Part,
    Pool,
    critical,
    parts_of,
    pool,
    variance_of_mean,
)


@dataclass(frozen=True)
class Shares:
    """What simulated tables without any true difference came to."""

    rows: float  # 95 % intervals of a row's mean that hold it
    differences: float  # the same of a paired difference
    size: float  # tables in which Holm finds a difference


def simulated(
    S: int,
    P: int,
    parts: Components,
    repeats: int,
    rows: int,
    rng: np.random.Generator,
    spread: Sequence[float] = (),
) -> Array:
    """Gaussian tables without any true difference, `[repeats, rows, S, P]`, in single precision.

    `parts` are those of a paired difference: a row has half of each. `spread` multiplies the
    standard deviation over seeds, row by row.
    """

    def normal(*shape: int) -> Array:
        return rng.standard_normal((repeats, *shape), dtype=np.float32)  # type: ignore[return-value]

    seed, prompt, rest = (
        np.float32((getattr(parts, name) / 2) ** 0.5) for name in ("seed", "prompt", "rest")
    )
    by_seed = seed * normal(rows, S, 1)
    if spread:
        by_seed *= np.asarray(spread, np.float32)[:, None, None]
    return by_seed + prompt * normal(rows, 1, P) + rest * normal(rows, S, P)


def shares(
    S: int,
    P: int,
    parts: Components,
    *,
    rows: int = 3,
    metrics: int = 2,
    repeats: int = 2000,
    spread: Sequence[float] = (),
) -> Shares:
    """Simulates tables of `(rows - 1) * metrics` contrasts; metrics are independent."""
    rng = np.random.default_rng(0)
    contrasts = (rows - 1) * metrics
    means, differences, found = [], [], np.zeros(repeats, bool)
    for _ in range(metrics):
        x = simulated(S, P, parts, repeats, rows, rng, spread)
        pooled = pooled_of(x)
        means.append(_beyond(x[:, 0], pooled.of_row(S), ALPHA))
        for k in range(1, rows):
            d = x[:, k] - x[:, 0]
            differences.append(_beyond(d, pooled.of_difference(S), ALPHA))
            # Holm's first step decides whether anything is found.
            found |= _beyond(d, pooled.of_difference(S), ALPHA / contrasts)
    return Shares(1 - float(np.mean(means)), 1 - float(np.mean(differences)), float(found.mean()))


def pooled_of(x: Array) -> Pool:
    """The pool of `x[..., R, S, P]`, R and S at least 2."""
    found = pool(x.mean(-1, dtype=np.float64))
    assert found
    return found


def _beyond(d: Array, seeds: list[Part], level: float) -> Array:
    """Whether a two-sided test at `level` rejects that the mean of `d[..., S, P]` is 0."""
    d = d.astype(np.float64)
    parts = parts_of(d, seeds)
    return np.abs(d.mean((-2, -1))) > critical(parts, level) * variance_of_mean(d, seeds) ** 0.5


def planned_detectable(
    parts: Components,
    seeds: int,
    prompts: int,
    contrasts: int = 1,
    *,
    rows: int = 4,
    repeats: int = 1000,
) -> float:
    """Before the run: the difference that 80 % of simulated tables of this size would find.

    A table finds `d` when `d + error > critical * se`, so the answer is a quantile over tables.
    """
    x = simulated(seeds, prompts, parts, repeats, rows, np.random.default_rng(0))
    errors = (x[:, 1] - x[:, 0]).astype(np.float64)
    pooled = pooled_of(x).of_difference(seeds)
    bar = critical(parts_of(errors, pooled), ALPHA / contrasts)
    se = variance_of_mean(errors, pooled) ** 0.5
    return float(np.quantile(bar * se - errors.mean((-2, -1)), POWER))


GRID = [  # seed and prompt variance as multiples of the rest's
    Components(s, p, 1.0) for s in (0.0, 0.001, 0.01, 0.1, 1.0) for p in (0.0, 0.1, 1.0, 10.0)
]
SIZES = ((2, 96), (3, 192), (3, 96), (5, 96), (8, 48))  # seeds, prompts
TABLES = ((3, 2), (5, 1))  # trained rows, metrics: 4 contrasts each
ALONE = ((3, 96), (6, 96), (10, 96))  # seeds, prompts
UNEQUAL = (0.5, 2.0)  # a row's standard deviation over seeds, in units of the other rows'


def simulation(repeats: int = 2000) -> str:
    """The committed `docs/coverage.md`: every size and variance ratio, and the worst cases."""
    found = {}
    for (S, P), (rows, metrics), parts in product(SIZES, TABLES, GRID):
        name = f"{S} | {P} | {rows} | {parts.seed:g} | {parts.prompt:g}"
        found[name] = shares(S, P, parts, rows=rows, metrics=metrics, repeats=repeats)
    head = [
        "# Do the tables' intervals and tests hold what they promise?\n",
        "Written by `python -m sweeps.coverage`: simulated Gaussian tables of rows, seeds and "
        "prompts, without any true difference. Variances of seeds and prompts are those of the "
        "difference of two rows, as multiples of the rest's. The family is Holm's over 4 "
        "contrasts: 3 trained rows with 2 metrics, or 5 with 1. "
        f"{repeats} tables a line: the Monte-Carlo standard error is "
        f"{100 * (0.05 * 0.95 / repeats) ** 0.5:.1f} points.\n",
        _worst("Worst of all lines", found) + "\n",
        *_lines("seeds | prompts | rows | var seed | var prompt", found),
    ]
    return "\n".join(
        head + _alone(repeats) + _unequal(repeats) + rounds_coverage.section(simulated)
    )


def _alone(repeats: int) -> list[str]:
    """Nothing to pool: a pool of two rows is their difference's own mean square."""
    found = {}
    for (S, P), parts in product(ALONE, GRID):
        name = f"{S} | {P} | {parts.seed:g} | {parts.prompt:g}"
        found[name] = shares(S, P, parts, rows=2, metrics=4, repeats=repeats)
    return [
        "\n## Differences whose seeds are not pooled\n",
        "As those of Figure 6, and those from the base, which is not trained: 2 rows with 4 "
        "metrics. " + _worst("Worst", found) + "\n",
        *_lines("seeds | prompts | var seed | var prompt", found),
    ]


def _unequal(repeats: int) -> list[str]:
    """The assumption broken: one row that training again moves more, or less, than the others."""
    found = {}
    for (rows, metrics), which, factor, prompt in product(TABLES, (0, -1), UNEQUAL, (0.0, 1.0)):
        spread = np.ones(rows)
        spread[which] = factor
        name = f"{rows} | {'baseline' if which == 0 else 'another'} | {factor:g} | {prompt:g}"
        found[name] = shares(
            3,
            96,
            Components(0.1, prompt, 1.0),
            rows=rows,
            metrics=metrics,
            repeats=repeats,
            spread=spread.tolist(),
        )
    return [
        "\n## Rows that seeds do not move alike\n",
        "3 seeds, 96 prompts, seed variance 0.1; one row's standard deviation over seeds is a "
        "multiple of the others'. " + _worst("Worst", found) + "\n",
        *_lines("rows | which | multiple | var prompt", found),
    ]


def _lines(columns: str, found: dict[str, Shares]) -> list[str]:
    """A Markdown table of what was simulated, by the columns that name a line."""
    head = f"| {columns} | coverage, row | coverage, difference | family-wise size |"
    return [
        head,
        "|" + "---|" * (head.count("|") - 1),
        *(
            f"| {name} | {x.rows:.1%} | {x.differences:.1%} | {x.size:.1%} |"
            for name, x in found.items()
        ),
    ]


def _worst(name: str, found: dict[str, Shares]) -> str:
    every = found.values()
    return (
        f"{name}: coverage of a row's mean {min(x.rows for x in every):.1%}, of a difference "
        f"{min(x.differences for x in every):.1%}; family-wise size "
        f"{max(x.size for x in every):.1%}."
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m sweeps.coverage", description=__doc__)
    parser.add_argument(
        "--rounds", action="store_true", help="the section on seeds that are added in rounds, alone"
    )
    found = (
        rounds_coverage.section(simulated)
        if parser.parse_args(arguments).rounds
        else [simulation()]
    )
    print("\n".join(found).strip())


if __name__ == "__main__":
    command(main)
