"""Simulated tables: intervals cover, Holm's test holds its size, and both could fail."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats as scipy_stats

from sweeps import coverage, stats
from sweeps.stats import Components


@pytest.mark.parametrize("parts", [Components(s, p, 1.0) for s in (0, 0.01, 1) for p in (0, 1)])
def test_coverage_and_family_wise_size(parts):
    """With 3 seeds 92 % and 6 % at worst, beyond Monte-Carlo error (docs/coverage.md: finer)."""
    found = coverage.shares(3, 48, parts, repeats=2000)
    assert min(found.rows, found.differences) > 0.92 - 2 * (0.92 * 0.08 / 2000) ** 0.5
    assert found.size < 0.06 + 2 * (0.06 * 0.94 / 2000) ** 0.5


def test_the_committed_simulation_holds_what_the_notes_say():
    """Every line of docs/coverage.md, written by `python -m sweeps.coverage`."""
    text = (Path(stats.__file__).parents[1] / "docs/coverage.md").read_text()
    lines = [re.findall(r"([\d.]+)%", line) for line in text.splitlines() if line.startswith("| ")]
    rows = np.array([line for line in lines if line], float)
    expected = len(coverage.SIZES) * len(coverage.TABLES) * len(coverage.GRID)
    expected += len(coverage.ALONE) * len(coverage.GRID)
    assert len(rows) == expected + 4 * len(coverage.TABLES) * len(coverage.UNEQUAL)
    assert rows[:, :2].min() >= 92
    assert rows[:, 2].max() <= 6 + 1.0  # twice the Monte-Carlo error of 2000 tables


def test_without_pooling_the_same_simulation_fails():
    """The own mean squares and Satterthwaite's degrees of freedom: the family-wise size is 10 %."""
    parts, found = Components(0.1, 0, 1), np.zeros(2000, bool)
    rng = np.random.default_rng(0)
    for _ in range(2):
        x = coverage.simulated(3, 48, parts, 2000, 3, rng)
        for k in (1, 2):
            d = (x[:, k] - x[:, 0]).astype(float)
            a, b, c = stats.mean_squares(d)
            free = a + b - c
            df = free**2 / (a**2 / 2 + b**2 / 47 + c**2 / 94)
            df = np.where(free > np.maximum(a, b), df, np.where(a >= b, 2, 47))
            t = np.abs(d.mean((1, 2))) / (np.maximum(free, np.maximum(a, b)) / (3 * 48)) ** 0.5
            found |= t > scipy_stats.t.ppf(1 - 0.05 / 8, df)
    assert found.mean() > 0.08
