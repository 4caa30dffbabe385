"""Statistics over steps: the jackknife where the answer is known, and its coverage."""

import statistics

import numpy as np
import pytest

from sweeps import readings
from sweeps.schema import Row


def test_jackknife_is_exact_where_the_answer_is_known():
    x = np.random.default_rng(0).normal(size=25)
    np.testing.assert_allclose(readings.jackknife(np.mean, x), x)  # of a mean: the values
    variance = readings.jackknife(np.var, x)  # population variance: the bias is removed exactly
    assert variance.mean() == pytest.approx(x.var(ddof=1))
    r = readings.jackknife(readings.correlation, x, 3 * x + 1)
    np.testing.assert_allclose(r, 1)
    assert readings.correlation(x, np.ones(25)) == 0 and readings.deviation(x[:1]) == 0


def test_the_jackknifes_interval_of_a_deviation_covers():
    """2,000 normal samples of 60: the true deviation lies within 1.96 errors about 95 %."""
    rng, inside = np.random.default_rng(1), 0
    for _ in range(2000):
        x = rng.normal(size=60)  # leave-one-out variances in closed form, as an independent way
        n, mean = 60, x.mean()
        left = np.sqrt(((x - mean) ** 2).sum() - n / (n - 1) * (x - mean) ** 2) / np.sqrt(n - 2)
        s = x.std(ddof=1)
        pseudo = n * s - (n - 1) * left
        inside += abs(pseudo.mean() - 1) < 1.96 * pseudo.std(ddof=1) / n**0.5
    np.testing.assert_allclose(readings.jackknife(readings.deviation, x), pseudo)
    assert 0.90 < inside / 2000 < 0.97


def test_a_correlation_is_pearsons():
    a, b = np.random.default_rng(2).normal(size=(2, 30))
    assert readings.correlation(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert readings.deviation(a) == pytest.approx(statistics.stdev(a.tolist()))


def test_a_column_is_the_rows_own_reading():
    x, y = np.random.default_rng(3).normal(size=(2, 9))
    wide = {("c", "mans.cosine"): x, ("c", "mans.telemetry"): y, ("c", "PC"): y}
    mans = Row("MaNS", {}, reading="mans")
    assert readings.column(wide, "c", mans, "cosine") is x
    assert readings.column(wide, "c", Row("scored", {}), "PC") is y
    assert readings.column(wide, "c", mans, "PC") is None, "a score is no reading"
    assert readings.column(wide, "other", mans, "cosine") is None
    only = {("c", "mans.cosine"): x}
    assert readings.column(only, "c", mans, "correlation") is None, "it needs both"
    assert readings.column(only, "c", mans, "deviation").shape == (9,)


def test_pseudo_values_of_a_ratio_by_hand():
    """P s - (P - 1) s without the p-th, for s = sum(a) / sum(b)."""
    a, b = np.array([1.0, 2.0, 6.0]), np.array([1.0, 1.0, 2.0])
    ratio = lambda a, b: a.sum() / b.sum()  # noqa: E731
    expected = [3 * 9 / 4 - 2 * s for s in (8 / 3, 7 / 3, 3 / 2)]
    np.testing.assert_allclose(readings.jackknife(ratio, a, b), expected)
