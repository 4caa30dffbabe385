"""Contrasts of rows, and the family that a table tests them in."""

from dataclasses import replace

import numpy as np
import pytest
from made_up import S3
from scipy import stats as scipy_stats

from sweeps import contrasts, stats
from sweeps.contrasts import Scores, family, hypotheses, looked, undecided
from sweeps.paper_claims import Claim, Contrast, alike, more


def scores_of(matrix, seeds=(0, 1)):
    return Scores(np.array(matrix, float), tuple(seeds), True)


def test_pairs_are_of_the_seeds_that_both_rows_have():
    a, b = scores_of([[1, 2], [3, 4], [5, 6]], (2, 0, 1)), scores_of([[10, 20], [30, 40]], (1, 2))
    np.testing.assert_array_equal(contrasts.paired(a, b), [[1 - 30, 2 - 40], [5 - 10, 6 - 20]])
    np.testing.assert_array_equal(contrasts.paired(b, a), [[10 - 5, 20 - 6], [30 - 1, 40 - 2]])
    other = scores_of([[1, 2]], (7,))
    assert contrasts.paired(a, other) is None and contrasts.difference(a, other, None) is None


def claim(*asked):
    return Claim("x", "lambda_hard", "here", "text", tuple(asked))


def test_a_family_is_what_the_table_declares_and_what_claims_add():
    (known,), (new,) = more("0.02", "0.1", "PC"), more("0.1", "0.005", "PC")
    near = alike("0.1", "0.02", "PC", 1.0)[0]
    declared = hypotheses(S3, ())
    assert len(declared) == len(S3.contrasts)
    assert hypotheses(S3, [claim(known)]) == declared, "the reverse of a declared one"
    assert hypotheses(S3, [claim(known, new, near), claim(new, near)]) == [*declared, (new, near)]
    elsewhere = replace(claim(new), sweep="clusters")
    assert hypotheses(S3, [elsewhere]) == declared


def test_the_sides_of_a_contrast_exchange():
    (straight,), (reverse,) = more("0.1", "0.02", "PC"), more("0.02", "0.1", "PC")
    own = contrasts.declared(S3, "0.1", "PC")
    assert contrasts.known(straight, S3) == (own, False)
    assert contrasts.known(reverse, S3) == (own, True)
    assert contrasts.known(Contrast(straight.terms, 1.0), S3) is None, "another hypothesis"


def rows_of(gap, prompts=40):
    rng = np.random.default_rng(3)
    start = rng.random((3, prompts))
    noise = 0.01 * rng.random((3, prompts))
    return {
        "a": {"PC": Scores(start, (0, 1, 2), True)},
        "b": {"PC": Scores(start + gap + noise, (0, 1, 2), True)},
        "c": {"PC": Scores(start + noise[::-1], (0, 1, 2), True)},
    }


def test_holm_is_over_the_family_and_one_side_has_the_p():
    asked = [more("b", "a", "PC"), more("a", "b", "PC"), more("b", ("a", "c"), "PC")]
    found = family(asked, rows_of(0.5), {})
    up, down, both = (found[x] for x in asked)
    assert up.p_for < 0.001 and up.p_against == 1 and down.p_against < 0.001 and down.p_for == 1
    assert both.p_for < 0.001 and len(both.estimates) == 2
    raw = contrasts._tested(asked[0], rows_of(0.5), {}).p
    assert family(asked[:1], rows_of(0.5), {})[asked[0]].p == pytest.approx(raw)


def test_what_cannot_be_tested_here_is_no_part_and_what_is_missing_has_p_1():
    other, metric = more("b", "elsewhere", "PC"), more("b", "a", "Total")
    assert family([other, metric], rows_of(0.5), {}) == {}
    unfinished = rows_of(0.5) | {"c": {}}
    found = family([more("b", "a", "PC"), more("b", "c", "PC")], unfinished, {})
    assert [x.p < 0.001 for x in found.values()] == [True, False]
    assert found[more("b", "c", "PC")] == contrasts.Tested((), 1.0, 1.0)


def estimate(mean, se=1.0, df=1e6):
    """An estimate that is normal, for all that matters."""
    half = 1.96 * se
    return stats.Estimate(mean, mean - half, mean + half, se, 0.5, 3, 12, ((se**2, df),))


@pytest.mark.parametrize("mean", [-3.0, -0.5, 0.0, 0.5, 3.0])
def test_p_values_of_a_contrast_are_those_of_the_normal(mean):
    p_for, p_against = contrasts.p_values(estimate(mean), None)
    two_sided = 2 * scipy_stats.norm.sf(abs(mean))
    assert p_for == pytest.approx(two_sided if mean > 0 else 1, rel=1e-3)
    assert p_against == pytest.approx(two_sided if mean < 0 else 1, rel=1e-3)


@pytest.mark.parametrize("mean", [-6.0, -1.0, 0.0, 1.0, 6.0])
def test_alike_is_two_one_sided_tests_at_the_margin(mean):
    margin = 3.0
    p_for, p_against = contrasts.p_values(estimate(mean), margin)
    if abs(mean) < margin:
        assert p_for == pytest.approx(2 * scipy_stats.norm.sf(margin - abs(mean)), rel=1e-3)
        assert p_against == 1
    else:
        assert p_for == 1
        assert p_against == pytest.approx(2 * scipy_stats.norm.sf(abs(mean) - margin), rel=1e-3)


def test_without_any_spread_the_sign_decides():
    assert contrasts.p_values(replace(estimate(0.1), se=0.0), None) == (0.0, 1.0)
    assert contrasts.p_values(replace(estimate(-0.1), se=0.0), None) == (1.0, 0.0)


def _tested(p_for, p_against, low=0.0, high=0.0):
    d = stats.Estimate((low + high) / 2, low, high, (high - low) / 4, 0.5, 9, 9, ((1.0, 1e9),))
    return contrasts.Tested((d,), p_for, p_against)


def test_looks_multiply_p_by_what_their_level_is_worth_and_keep_the_smallest():
    one, two = ((Contrast(((1, x, "PC"), (-1, "b", "PC"))),) for x in ("x", "y"))
    now = {one: _tested(0.5, 1.0), two: _tested(0.001, 1.0)}
    found = looked(now, [(0.01, {one: _tested(1.0, 0.004), two: _tested(0.3, 1.0)}), (0.04, now)])
    assert (found[one].p_for, found[one].p_against) == (1.0, pytest.approx(0.02))
    assert (found[two].p_for, found[two].p_against) == (pytest.approx(0.00125), 1.0)
    assert {x.p for x in looked(now, []).values()} == {1.0}, "before the first look"


def test_what_is_within_the_margin_is_decided_and_a_test_of_equivalence_only_by_its_p():
    difference = (Contrast(((1, "x", "PC"), (-1, "b", "PC"))),)
    alike = (Contrast(((1, "x", "PC"), (-1, "b", "PC")), 1.0),)
    other = (Contrast(((1, "x", "Temp"), (-1, "b", "Temp"))),)
    within = _tested(0.9, 1.0, -0.4, 0.4)  # se 0.2: 5 of it to the margin
    found = dict.fromkeys((difference, alike, other), within)
    assert undecided(found, 1.0, 0.01) == [alike, other], "Temp is not in points"
    assert undecided(found, 1.0, 1e-8) == [difference, alike, other]
    assert undecided({alike: _tested(0.049, 1.0)}, 1.0, 0.01) == []
