"""Statistics over steps: the jackknife where the answer is known, and its coverage."""

import numpy as np
import pytest

from sweeps import readings


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
