"""Numbers of a table against a loop over the results."""

from dataclasses import astuple, replace

import fake
import numpy as np
import pytest
from made_up import BASE, S3, build, line, results_of

from direct.common.errors import UserError
from sweeps import stats, tables
from sweeps.ablations import ABLATIONS
from sweeps.contrasts import declared
from sweeps.report import text as text_module
from sweeps.report import words
from sweeps.report.text import markdown
from sweeps.schema import cells


def matrix(results, table, label, metric):
    own = [cell for cell in cells(table, BASE, (0, 1, 2)) if cell.row == label]
    return np.array([results[cell.id]["scores"][metric] for cell in own])


def same(found, expected):
    """Equal but for the order of sums."""
    for a, b in zip(astuple(found), astuple(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)
    return True


def pool(results, metric, labels=("0.005", "0.02", "0.1", "0 (MaNS only)")):
    return stats.pool(np.stack([matrix(results, S3, x, metric).mean(-1) for x in labels]))


def test_values_and_paired_differences_by_hand():
    results, table = results_of(S3), build()
    for label in ("0.005", "0.1"):
        own, base = (matrix(results, S3, x, "PC") for x in (label, "0.02"))
        value = line(table, label).values["PC"]
        pooled = pool(results, "PC")
        assert same(value.mean, stats.estimate(own, pooled.of_row(3)))
        assert same(value.difference, stats.estimate(own - base, pooled.of_difference(3)))
        assert value.mean.seeds == 3 and value.mean.prompts == 12
    assert line(table, "0.02").values["PC"].difference is None


def test_the_base_model_pairs_seed_by_seed_and_pools_nothing():
    S1 = ABLATIONS["lambda_anc"]
    results, table = results_of(S1), build(S1)
    zero = matrix(results, S1, "zero-shot", "SA")
    assert zero.shape == (3, 12)
    value = line(table, "zero-shot").values["SA"]
    assert same(value.mean, stats.estimate(zero))
    assert same(value.difference, stats.estimate(zero - matrix(results, S1, "0.2", "SA")))


def test_holm_is_over_one_family_of_the_tables_contrasts_and_its_claims():
    table = tables.tested(build(), ())
    assert len(table.family) == len(S3.contrasts)
    raw = {key: line(table, key[0]).values[key[1]].difference.p for key in S3.contrasts}
    adjusted = dict(zip(raw, stats.holm(list(raw.values())), strict=True))
    for line_ in table.lines:
        for metric, value in line_.values.items():
            expected = adjusted.get((line_.row.label, metric))
            assert value.p_holm == (expected and pytest.approx(expected))
    whole = build()
    assert len(whole.family) == len(S3.contrasts) + 1, "two claims; one adds contrasts of AVG"
    for label, metric in S3.contrasts:
        p = line(whole, label).values[metric].p_holm
        assert p >= line(table, label).values[metric].p_holm
        assert whole.family[(declared(S3, label, metric),)].p == p


def test_seeds_that_only_one_row_has_are_left_out_of_the_difference():
    planned = cells(S3, BASE, (0, 1, 2))
    missing = next(c for c in planned if c.row == "0.02" and c.config.seed == 1)
    results = results_of(S3)
    own, base = (matrix(results, S3, x, "PC") for x in ("0.1", "0.02"))
    results.pop(missing.id)
    table = tables.build(S3, planned, results)
    found = line(table, "0.1").values["PC"].difference
    means = [
        matrix(results, S3, x, "PC")[[0, 2]].mean(-1) for x in ("0.005", "0.1", "0 (MaNS only)")
    ]
    seeds = stats.pool(np.stack([*means, base[[0, 2]].mean(-1)])).of_difference(2)
    assert same(found, stats.estimate((own - base)[[0, 2]], seeds))
    assert line(table, "0.1").values["PC"].mean.seeds == 3
    assert "Incomplete: 1 of 12 cells" in words.caption(table)


def test_best_second_and_what_is_not_separable():
    table = build()
    marks = {x.row.label: x.values["PC"] for x in table.lines}
    assert marks["0.1"].best and marks["0.02"].second
    assert not any(v.tied for k, v in marks.items() if k in ("0.1", "0.02"))  # 8 points apart

    def close(cell, scores):
        scores["PC"] = scores["PC"] + (0.0801 if cell.row == "0.02" else 0)
        return scores

    assert line(build(change=close), "0.02").values["PC"].tied


def test_values_that_print_alike_share_a_rank():
    def alike(cell, scores):
        return {name: np.full(12, 0.25) for name in scores}

    assert not any(v.best or v.second for x in build(change=alike).lines for v in x.values.values())


def test_a_constant_column_and_a_diverged_row():
    def change(cell, scores):
        if cell.row == "0.1" and cell.config.seed == 0:
            return {}
        return scores | {"AVG": np.ones(12)}

    table = build(change=change)
    assert line(table, "0.02").values["AVG"].mean.half == 0
    high = line(table, "0.1")
    assert high.diverged == ("at step 3",) and not high.values["PC"].best
    text = text_module.markdown(table)
    assert "0.1†" in text and "0.1 diverged in 1 of 3 runs" in text


def test_cells_of_other_prompts_are_refused():
    results = results_of(S3)
    first = next(iter(results))
    results[first]["prompts"] = [f"q{k}" for k in range(12)]
    with pytest.raises(UserError, match="judged on other prompts"):
        tables.build(S3, cells(S3, BASE, (0, 1, 2)), results)


def test_differences_are_to_the_rows_own_partner():
    results = results_of(ABLATIONS["dynamics"])
    found = build(ABLATIONS["dynamics"])
    by_row = {}
    for cell in cells(ABLATIONS["dynamics"], BASE, (0, 1, 2)):
        by_row.setdefault(cell.row, []).append(results[cell.id]["scores"]["PC"])
    for label, partner in (("DiReCT, third", "SFT, third"), ("SFT, fifth", "SFT, end")):
        d = np.array(by_row[label]) - np.array(by_row[partner])
        assert line(found, label).values["PC"].difference.mean == pytest.approx(d.mean())
    text = markdown(found)
    assert "| DiReCT, third | SFT, third |" in text and "Steps: fifth 30, third 50" in text
    assert text.startswith("# Figure 6: ") and "the paper prints none" in text


@pytest.mark.slow
def test_points_along_one_run_lend_each_other_no_variance():
    """A seed moves a run at a fifth of its steps otherwise than at its end: the row x seed residual
    is not the noise of two runs' difference at one point, whose own seeds are what counts.
    """
    drift = {seed: 0.2 * seed for seed in (0, 1, 2)}  # of the early points of both runs alike

    def along(cell, scores):
        return {
            name: values + drift[cell.config.seed] * ("fifth" in cell.row)
            for name, values in scores.items()
        }

    declared = ABLATIONS["dynamics"]
    plain, drifting = build(declared), build(declared, change=along)
    for label in ("DiReCT, fifth", "DiReCT, end"):
        one, other = (line(found, label).values["PC"].difference for found in (plain, drifting))
        assert one.half == pytest.approx(other.half, rel=1e-6)
        assert "nothing is pooled" in " ".join(words.notes(plain))
        assert one.half == pytest.approx(
            stats.estimate(line(plain, label).values["PC"].differences).half
        )


def test_every_kind_of_provenance_stands_once():
    planned = cells(S3, BASE, (0,))
    results = results_of(S3, (0,))
    for i, cell in enumerate(planned):
        results[cell.id]["provenance"] = {"commit": "ab"[i % 2], "device": "one"}
    found = tables.build(S3, planned, results).provenance
    assert sorted(found["commit"]) == ["a", "b"] and found["device"] == ["one"]


def test_old_results_are_counted_and_their_modules_named():
    planned, results = cells(S3, BASE, (0,)), results_of(S3, (0,))
    stages = replace(fake.STAGES, code=lambda config: {"direct.flow": "new", "direct.noise": "n"})
    for cell in planned:
        results[cell.id]["code"] = stages.code(cell.config)
    assert tables.build(S3, planned, results, stages).old is None
    results[planned[0].id]["code"] = {"direct.flow": "old", "direct.noise": "n"}
    results[planned[1].id]["code"] = {"direct.flow": "new"}
    old = tables.build(S3, planned, results, stages).old
    assert (old.count, old.total, old.modules) == (2, 4, ("direct.flow", "direct.noise"))


def test_rows_that_are_one_model_sampled_in_several_ways_pool_nothing():
    """At another guidance the same model is moved otherwise by its seed."""
    for name, pooled in (("guidance", False), ("map", False), ("sampling_unguided", True)):
        table = build(ABLATIONS[name])
        assert bool(table.pools) == pooled, name
        trained = [x.values["PC"] for x in table.lines if x.trained and x.values["PC"].difference]
        value = trained[-1]
        own = stats.estimate(value.differences)
        assert (value.difference == own) == (not pooled)
