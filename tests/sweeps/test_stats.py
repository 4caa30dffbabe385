"""Against SciPy, closed forms, a loop over the definition, and simulation."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from sweeps import coverage, stats
from sweeps.stats import Components


def sample(S, P, seed, prompt, rest, rng):
    return (
        seed * rng.standard_normal((S, 1))
        + prompt * rng.standard_normal((1, P))
        + rest * rng.standard_normal((S, P))
    )


def of_prompts(se, df):
    """An estimate whose spread is over prompts alone."""
    return stats.Estimate(0, 0, 0, se, 1, 1, int(df) + 1, ((se**2, df),))


def test_mean_squares_by_the_definition():
    d = sample(3, 7, 1.0, 2.0, 0.5, np.random.default_rng(0))
    S, P = d.shape
    grand = sum(d[s, p] for s in range(S) for p in range(P)) / (S * P)
    row = [sum(d[s]) / P for s in range(S)]
    column = [sum(d[:, p]) / S for p in range(P)]
    ms_s = P * sum((r - grand) ** 2 for r in row) / (S - 1)
    ms_p = S * sum((c - grand) ** 2 for c in column) / (P - 1)
    rest = sum((d[s, p] - row[s] - column[p] + grand) ** 2 for s in range(S) for p in range(P))
    np.testing.assert_allclose(stats.mean_squares(d), (ms_s, ms_p, rest / ((S - 1) * (P - 1))))
    free = ms_s + ms_p - rest / ((S - 1) * (P - 1))
    assert stats.variance_of_mean(d) == pytest.approx(max(free, ms_s, ms_p) / (S * P))
    assert [df for _, df in stats.parts_of(d)] == [S - 1, P - 1]


def test_one_seed_is_the_paired_t_test_over_prompts():
    a, b = np.random.default_rng(1).random((2, 1, 40))
    ours, theirs = stats.estimate(a - b), scipy_stats.ttest_rel(a[0], b[0])
    interval = theirs.confidence_interval(0.95)
    assert ours.p == pytest.approx(theirs.pvalue)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high))
    assert not ours.seeds_random


def test_seeds_alone_give_the_t_interval_over_seeds():
    """All prompts alike: P prompts are no more than one, and 3 seeds have 2 degrees of freedom."""
    d = np.repeat(np.array([[0.1], [0.3], [0.8]]), 50, axis=1)
    theirs = scipy_stats.ttest_1samp(d[:, 0], 0).confidence_interval(0.95)
    ours = stats.estimate(d)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    assert ours.p == pytest.approx(scipy_stats.ttest_1samp(d[:, 0], 0).pvalue)


def test_the_variance_is_floored():
    """A checkerboard of interaction: MS_s + MS_p - MS_sp is negative, the floor is not."""
    d = np.array([[1.0, -1.0, 1.0, -1.0], [-1.0, 1.0, -1.0, 1.1]])
    ms_s, ms_p, ms_sp = stats.mean_squares(d)
    assert ms_s + ms_p - ms_sp < 0
    assert stats.estimate(d).se == pytest.approx((max(ms_s, ms_p) / d.size) ** 0.5)


@pytest.mark.parametrize("value", [0.0, 0.7])
def test_a_constant_column(value):
    found = stats.estimate(np.full((3, 20), value))
    assert (found.low, found.mean, found.high) == pytest.approx((value, value, value))
    assert found.p == (1.0 if value == 0 else 0.0)
    assert np.isnan(stats.detectable(found))


def test_a_single_number_has_no_interval():
    found = stats.estimate(np.array([[0.4]]))
    assert found.mean == 0.4
    assert np.isnan([found.low, found.high, found.p]).all()


@pytest.mark.parametrize("bad", [np.zeros((0, 3)), np.zeros(3), np.array([[np.nan, 1.0]])])
def test_what_is_no_matrix_of_scores_is_refused(bad):
    with pytest.raises(ValueError, match="finite"):
        stats.estimate(bad)


def test_a_pool_of_two_rows_is_their_difference_alone():
    a, b = np.random.default_rng(4).random((2, 5, 7))  # S, P
    found = stats.pool(np.stack([a.mean(-1), b.mean(-1)]))
    pooled, own = (stats.estimate(a - b, seeds) for seeds in (found.of_difference(5), None))
    assert pooled.half == pytest.approx(own.half) and pooled.p == pytest.approx(own.p)


def test_the_pool_is_the_mean_over_pairs_of_rows():
    """2 x rest is the average of MS_s / P over all paired differences; common is by definition."""
    m = np.random.default_rng(3).random((4, 3))  # R, S
    found = stats.pool(m)
    pairs = [np.var(m[i] - m[j], ddof=1) for i in range(4) for j in range(i)]
    assert found.of_difference(3)[0] == (pytest.approx(np.mean(pairs) / 3), 6)
    total = sum(v for v, _ in found.of_row(3))
    assert total == pytest.approx(np.var(m, axis=1, ddof=1).mean() / 3)
    assert stats.pool(m[:1]) is None and stats.pool(m[:, :1]) is None


def test_a_pool_is_never_below_the_own_seeds():
    d = np.repeat(np.array([[0.1], [0.3], [0.8]]), 50, axis=1)
    own = stats.estimate(d)
    small, none, large = (stats.estimate(d, [(v, 6.0)]) for v in (1e-4, 0.0, 1.0))
    assert small.se == none.se == pytest.approx(own.se) and small.half < own.half
    assert large.se == pytest.approx(1.0)


def test_the_p_value_inverts_the_interval():
    d = sample(3, 30, 0.2, 0.5, 0.3, np.random.default_rng(11)) + 0.4
    found = stats.estimate(d)
    half = stats.critical(found.parts, found.p) * found.se
    assert half == pytest.approx(abs(found.mean)) and 0 < found.p < 1
    same = stats.estimate(d, alpha=found.p)
    assert min(abs(same.low), abs(same.high)) == pytest.approx(0, abs=1e-9)
    assert stats.p_value(0.0, found.parts) == 1.0


def test_a_pooled_interval_would_not_cover():
    """The test above can fail: with seeds that differ, a pooled standard error misses the truth."""
    rng = np.random.default_rng(5)
    d = 0.3 * rng.standard_normal((500, 3, 1)) + rng.standard_normal((500, 3, 192))
    pooled = 1.96 * d.std((-2, -1), ddof=1) / (3 * 192) ** 0.5
    assert (np.abs(d.mean((-2, -1))) < pooled).mean() < 0.5


def test_bootstrap_agrees_where_there_are_many_seeds():
    d = sample(30, 60, 0.5, 1.0, 0.3, np.random.default_rng(6)) + 2
    low, high = stats.bootstrap(d)
    ours = stats.estimate(d)
    assert (low, high) == pytest.approx((ours.low, ours.high), abs=0.15 * ours.half)
    assert stats.bootstrap(d) == (low, high), "the same draws every time"


def test_holm_by_hand():
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert stats.holm([]) == []


def test_holm_keeps_the_family_wise_size():
    rng = np.random.default_rng(7)
    hits = [min(stats.holm(list(rng.random(5)))) < 0.05 for _ in range(4000)]
    assert np.mean(hits) < 0.05 + 3 * (0.05 * 0.95 / 4000) ** 0.5


def test_detectable_difference_has_the_power_it_claims():
    """Simulated one-sample t tests at alpha / 4, n = 12: 80 % find a difference of that size."""
    n, contrasts = 12, 4
    size = stats.detectable(of_prompts(1 / n**0.5, n - 1), contrasts)
    x = np.random.default_rng(8).standard_normal((20_000, n)) + size
    p = scipy_stats.ttest_1samp(x, 0, axis=1).pvalue
    assert (p < 0.05 / contrasts).mean() == pytest.approx(0.80, abs=0.01)


@pytest.mark.slow
def test_components_are_recovered_and_plan_the_run():
    rng = np.random.default_rng(9)
    found = [stats.components(sample(8, 100, 0.4, 1.0, 0.7, rng)) for _ in range(200)]
    mean = np.mean([(c.seed, c.prompt, c.rest) for c in found], axis=0)
    np.testing.assert_allclose(mean, (0.16, 1.0, 0.49), rtol=0.1)
    parts = Components(0.001, 0.01, 0.04)
    more = [coverage.planned_detectable(parts, S, P, 4) for S, P in ((3, 96), (6, 96), (12, 192))]
    assert more == sorted(more, reverse=True)
    prompts_alone = coverage.planned_detectable(Components(0, 1.0, 0), 3, 100, 4, repeats=4000)
    assert prompts_alone == pytest.approx(stats.detectable(of_prompts(0.1, 99), 4), rel=0.05)
    with pytest.raises(ValueError, match="2 seeds"):
        stats.components(np.zeros((1, 5)))
