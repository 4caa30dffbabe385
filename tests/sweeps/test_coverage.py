"""Simulated tables: intervals cover, Holm's test holds its size, and both could fail."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats as scipy_stats

from sweeps import coverage, stats
from sweeps.stats import Components


@pytest.mark.slow
@pytest.mark.parametrize("parts", [Components(s, p, 1.0) for s in (0, 0.01, 1) for p in (0, 1)])
def test_coverage_and_family_wise_size(parts):
    """With 3 seeds 92 % and 6 % at worst, beyond Monte-Carlo error (docs/coverage.md: finer)."""
    found = coverage.shares(3, 48, parts, repeats=2000)
    assert min(found.rows, found.differences) > 0.92 - 2 * (0.92 * 0.08 / 2000) ** 0.5
    assert found.size < 0.06 + 2 * (0.06 * 0.94 / 2000) ** 0.5


def test_the_committed_simulation_holds_what_the_notes_say():
    """Every line of docs/coverage.md, written by `python -m sweeps.coverage`."""
    text = (Path(stats.__file__).parents[1] / "docs/coverage.md").read_text()
    text, _, _ = text.partition("## Seeds added in rounds")  # test_rounds_coverage.py
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


def test_simulated_tables_have_the_variances_they_are_asked_for():
    """Of a paired difference of two rows, over 4,000 tables of one seed and one prompt each."""
    rng = np.random.default_rng(1)
    parts = Components(0.5, 2.0, 1.0)
    x = coverage.simulated(2, 2, parts, 4000, 2, rng)
    assert x.shape == (4000, 2, 2, 2) and x.dtype == np.float32
    d = x[:, 1] - x[:, 0]
    assert d.mean() == pytest.approx(0, abs=0.1)
    assert d[:, 0, 0].var() == pytest.approx(0.5 + 2.0 + 1.0, rel=0.1)
    assert np.cov(d[:, 0, 0], d[:, 0, 1])[0, 1] == pytest.approx(0.5, rel=0.25), "one seed"
    assert np.cov(d[:, 0, 0], d[:, 1, 0])[0, 1] == pytest.approx(2.0, rel=0.1), "one prompt"
    assert np.cov(d[:, 0, 0], d[:, 1, 1])[0, 1] == pytest.approx(0, abs=0.2)


def test_a_spread_is_of_its_row_alone():
    rng = np.random.default_rng(2)
    x = coverage.simulated(1, 1, Components(2.0, 0, 0), 4000, 3, rng, spread=(1.0, 0.5, 3.0))
    np.testing.assert_allclose(x[..., 0, 0].std(0), (1.0, 0.5, 3.0), rtol=0.1)


def test_the_same_call_gives_the_same_shares():
    parts = Components(0.1, 1.0, 1.0)
    one, same = (coverage.shares(3, 8, parts, repeats=50) for _ in range(2))
    assert one == same and 0 <= one.size <= 1 and one.rows > 0.8


def test_a_line_of_the_page_is_in_per_cent_and_the_worst_is_named():
    found = {
        "3 | 96": coverage.Shares(0.95, 0.925, 0.051),
        "5 | 96": coverage.Shares(0.94, 0.96, 0.02),
    }
    assert coverage._lines("seeds | prompts", found) == [
        "| seeds | prompts | coverage, row | coverage, difference | family-wise size |",
        "|---|---|---|---|---|",
        "| 3 | 96 | 95.0% | 92.5% | 5.1% |",
        "| 5 | 96 | 94.0% | 96.0% | 2.0% |",
    ]
    assert coverage._worst("Worst", found) == (
        "Worst: coverage of a row's mean 94.0%, of a difference 92.5%; family-wise size 5.1%."
    )
