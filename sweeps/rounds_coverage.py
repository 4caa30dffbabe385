"""Simulated tables whose seeds are added in rounds: errors, power, and the seeds that it saves.

The last section of docs/coverage.md; `python -m sweeps.coverage --rounds` prints it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .rounds import MARGIN, MOST, levels, planned
from .stats import ALPHA, Array, Components, critical, parts_of, pool, variance_of_mean

Draw = Callable[[int, int, Components, int, int, np.random.Generator], Array]
PROMPTS, ROWS, REPEATS = 192, 5, 1000  # prompts, trained rows (4 contrasts), tables
PARTS = (  # of a difference, in points of PC: seeds, prompts, rest
    Components(0.0, 1.0, 100.0),
    Components(0.25, 1.0, 100.0),
    Components(1.0, 1.0, 100.0),
)
EFFECTS = {  # of the 4 contrasts, in points
    "none": (0.0, 0.0, 0.0, 0.0),
    "two of 3 points": (3.0, 3.0, 0.0, 0.0),
    "four of 3 points": (3.0, 3.0, 3.0, 3.0),
    "four of 1 point, the margin": (1.0, 1.0, 1.0, 1.0),
}


@dataclass(frozen=True)
class Rounds:
    """Shares of simulated tables, of contrasts, and the seeds that were run."""

    size: float  # tables that call a contrast different that is not, or equivalent that is not
    power: float  # contrasts with an effect that are found
    decided: float  # contrasts that are decided
    seeds: float  # expected, of a table


def stopped(tables: Array, effects: Sequence[float], looks: Sequence[int]) -> Rounds:
    """Tables [repeats, rows, S, P] without any difference, which are given `effects`.

    They stop at the first look at which every contrast is decided.
    """
    x, repeats = tables.copy(), len(tables)
    x[:, 1:] += np.asarray(effects, np.float32)[:, None, None]
    different = np.zeros((repeats, len(effects)), bool)
    alike, seeds, running = different.copy(), np.full(repeats, looks[-1]), np.ones(repeats, bool)
    for n, level in zip(looks, levels(looks), strict=True):
        apart, within = _decided(x[running, :, :n], level)
        different[running] |= apart
        alike[running] |= within
        done = (different | alike).all(1) & running
        seeds[done] = n
        running &= ~done
        if not running.any():
            break
    truth = np.asarray(effects)
    wrong = different[:, truth == 0].any(1) | alike[:, truth >= MARGIN].any(1)
    power = float(different[:, truth > 0].mean()) if (truth > 0).any() else float("nan")
    return Rounds(
        float(wrong.mean()), power, float((different | alike).mean()), float(seeds.mean())
    )


def _decided(x: Array, level: float) -> tuple[Array, Array]:
    """[n, contrasts]: different by Holm at `level`, and within the margin by Bonferroni."""
    d = (x[:, 1:] - x[:, :1]).astype(np.float64)
    found = pool(x.mean(-1, dtype=np.float64))
    assert found
    part = [(np.asarray(v)[:, None], df) for v, df in found.of_difference(x.shape[2])]
    parts, mean = parts_of(d, part), d.mean((-2, -1))
    se, m = variance_of_mean(d, part) ** 0.5, d.shape[1]
    bars = [critical(parts, level / left) * se for left in range(m, 0, -1)]  # by how many are found
    apart = np.zeros(mean.shape, bool)
    for _ in range(m):
        already = apart.sum(1).clip(max=m - 1)
        bar = np.stack(bars)[already, np.arange(len(mean))]
        apart = np.abs(mean) > bar
    return apart, np.abs(mean) + bars[0] < MARGIN


def section(draw: Draw, repeats: int = REPEATS) -> list[str]:
    """The section of docs/coverage.md: this rule beside the same seeds at once.

    draw(seeds, prompts, parts, repeats, rows, rng): tables without any difference.
    """
    looks = planned(MOST)
    found: list[tuple[Rounds, Rounds]] = []
    lines: list[str] = []
    for parts in PARTS:
        rng = np.random.default_rng(0)
        tables = draw(looks[-1], PROMPTS, parts, repeats, ROWS, rng)
        for name, effects in EFFECTS.items():
            rounds, fixed = (stopped(tables, effects, x) for x in (looks, looks[-1:]))
            power = [f"{x.power:.1%}" if any(effects) else "–" for x in (rounds, fixed)]
            found.append((rounds, fixed))
            shown = [
                *(f"{parts.seed:g}", name, f"{rounds.size:.1%}", f"{fixed.size:.1%}", *power),
                *(f"{rounds.decided:.1%}", f"{fixed.decided:.1%}", f"{rounds.seeds:.1f}"),
                f"{1 - rounds.seeds / looks[-1]:.0%}",
            ]
            lines.append("| " + " | ".join(shown) + " |")
    head = (
        "| var seed | effects | wrong tables | all at once | power | all at once | decided "
        "| all at once | expected seeds | saved |"
    )
    return [
        "\n## Seeds added in rounds\n",
        f"`--until-decided` with --max-seeds {MOST}: looks at {', '.join(map(str, looks))} seeds "
        f"spend {', '.join(f'{x:.4f}' for x in levels(looks))} of α = {ALPHA}. Tables of {ROWS} "
        f"rows and {PROMPTS} prompts; differences in points of PC, their variances: prompts 1, "
        "rest 100, seeds as shown. A table is wrong if it calls a contrast different that is not, "
        f"or equivalent within {MARGIN:g} point that is not. Beside each number that of all seeds "
        f"at once, at α. {repeats} tables a line. Worst: "
        f"{max(x.size for x, _ in found):.1%} of tables wrong. A table saves seeds where all its "
        "contrasts have effects; one without an effect runs to the cap, where equivalence takes "
        "all of its seeds.\n",
        head,
        "|" + "---|" * (head.count("|") - 1),
        *lines,
    ]
