"""Seeds added in rounds until a table is decided: the planned looks, and the level of each.

A table that is tested again whenever seeds were added finds a difference that is not there in more
than 5 % of cases. So the looks are planned before the first result, and each may spend a part of
ALPHA: that of the spending function ALPHA (share of the seeds)^2 (Kim and DeMets 1987, rho = 2).
The parts are used as they are, without the correlation of the looks: their sum bounds the error by
Bonferroni's inequality, whatever the tests and however few the seeds. Exact boundaries would rest
on normal statistics. What that costs and saves is simulated in docs/coverage.md.

A p value at a look is shown as ALPHA / level times itself, so that it is compared with ALPHA. What
was found at one look stays found: of several looks the smallest counts.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from .stats import ALPHA

MARGIN = 1.0  # points: closer than this is equivalent, where a table declares no margin
FIRST, LOOKS = 3, 4  # seeds of the first look at least, looks at most
MOST, LARGEST = 12, 10_000  # --max-seeds where it is not given; its bound


def planned(most: int) -> tuple[int, ...]:
    """The numbers of seeds at which a table is looked at, evenly spaced, the last one `most`."""
    step = max(FIRST, -(-most // LOOKS))
    return (*range(step, most, step), most)


def margin(declared: float | None) -> float:
    """In points: within it a table's rows are equivalent."""
    return MARGIN if declared is None else declared


def levels(looks: Sequence[int]) -> list[float]:
    """What each look may spend of ALPHA; they sum to it."""
    spent = [0.0, *(ALPHA * (n / looks[-1]) ** 2 for n in looks)]
    return [b - a for a, b in itertools.pairwise(spent)]
