"""Verdicts on results whose truth is known, on chance alone, and on what was not run."""

from dataclasses import replace

import made_up_readings as made
import numpy as np
import pytest
from made_up import BASE, S3, results_of
from made_up_readings import S4, S6, gradients, seconds
from scipy import stats as scipy_stats

from direct.identity import identity
from sweeps import claims, stats, tables
from sweeps.ablations import ABLATIONS
from sweeps.claims import CONTRADICTED, NOT_RUN, REPRODUCED, UNRESOLVED
from sweeps.contrasts import Scores
from sweeps.paper_claims import CLAIMS, Claim, Contrast, alike, more
from sweeps.schema import cells


def built(seeds=(0, 1, 2), missing=(), **more):
    planned, results = cells(S3, BASE, seeds), results_of(S3, seeds, **more)
    for cell in planned:
        if cell.row in missing:
            results.pop(identity(cell.config), None)
    return {"lambda_hard": tables.build(S3, planned, results)}


def judged(asked, found):
    """The claims' verdicts, each table's family being its own contrasts and these claims."""
    known = {name: tables.tested(table, asked) for name, table in found.items()}
    return claims.judge(asked, known)


def verdict(contrasts, found=None):
    claim = Claim("x", "lambda_hard", "here", "text", contrasts)
    return judged((claim,), found or built())[0]


def test_a_judge_without_the_metric_leaves_the_claim_open():
    """VideoPhy gives SA, PC and AVG alone; the other claims of Table 1 are then not run."""
    alone = ("SA", "PC", "AVG")
    found = {
        "lambda_hard": tables.build(
            S3,
            cells(S3, BASE, (0, 1, 2)),
            results_of(S3, change=lambda cell, scores: {name: scores[name] for name in alone}),
        )
    }
    assert verdict(more("0.1", "0.005", "PC"), found).verdict == REPRODUCED
    open_ = verdict(more("0.1", "0.005", "PC", "Total"), found)
    assert open_.verdict == NOT_RUN and open_.why == "this judge gives no Total"


def test_a_large_gain_is_reproduced_and_its_reverse_contradicted():
    assert verdict(more("0.1", "0.005", "PC", "SA")).verdict == REPRODUCED  # 9.5 points apart
    assert verdict(more("0.005", "0.1", "PC")).verdict == CONTRADICTED
    mixed = verdict(more("0.1", "0.005", "PC") + more("0.005", "0.1", "SA"))
    assert mixed.verdict == CONTRADICTED, "one false contrast refutes a conjunction"


def test_alike_needs_an_interval_within_the_margin():
    assert verdict(alike("0.02", "0.005", "PC", 5.0)).verdict == REPRODUCED  # 1.5 points apart
    assert verdict(alike("0.1", "0.005", "PC", 5.0)).verdict == CONTRADICTED
    close = verdict(alike("0.02", "0.005", "PC", 1.5))
    assert close.verdict == UNRESOLVED


def test_differences_of_differences_use_their_own_seeds():
    terms = ((1, "0.1", "PC"), (-1, "0.005", "PC"), (-1, "0.1", "SA"), (1, "0.005", "SA"))
    found = verdict((Contrast(terms),))
    results = results_of(S3)
    score = {
        (c.row, c.config.seed, m): np.array(results[c.id]["scores"][m])
        for c in cells(S3, BASE, (0, 1, 2))
        for m in ("PC", "SA")
    }
    d = np.array([sum(w * 100 * score[row, seed, m] for w, row, m in terms) for seed in range(3)])
    assert found.estimates[0].mean == pytest.approx(d.mean())
    assert found.verdict == UNRESOLVED


def test_a_difference_from_the_base_pools_nothing():
    S1 = ABLATIONS["lambda_anc"]
    planned, results = cells(S1, BASE, (0, 1, 2)), results_of(S1)
    claim = Claim("x", "lambda_anc", "here", "text", more("0.1", "zero-shot", "PC"))
    (found,) = judged((claim,), {"lambda_anc": tables.build(S1, planned, results)})
    a, b = (
        np.array([results[c.id]["scores"]["PC"] for c in planned if c.row == row])
        for row in ("0.1", "zero-shot")
    )
    own = stats.estimate(100 * (a - b))
    assert found.estimates[0].low == pytest.approx(own.low)
    assert found.estimates[0].high == pytest.approx(own.high)


def test_one_seed_is_the_paired_t_test():
    bare, planned = replace(S3, contrasts=()), cells(S3, BASE, (0,))
    alone = {"lambda_hard": tables.build(bare, planned, results_of(S3, (0,)))}
    found = verdict(more("0.02", "0.005", "PC"), alone)
    results = results_of(S3, (0,))
    a, b = (
        next(results[c.id]["scores"]["PC"] for c in cells(S3, BASE, (0,)) if c.row == row)
        for row in ("0.02", "0.005")
    )
    theirs = scipy_stats.ttest_rel(a, b)
    assert found.p_holm == pytest.approx(theirs.pvalue) and found.verdict == REPRODUCED


def test_what_is_missing_is_not_run():
    found = verdict(more("0.1", "0.005", "PC"), built(missing=("0.1",)))
    assert found.verdict == NOT_RUN and "3 of its cells" in found.why
    verdicts = claims.verdicts({})
    everything = verdicts.paper
    assert {x.verdict for x in (*everything, *verdicts.mechanism)} == {NOT_RUN}
    assert len(everything) == len(CLAIMS)
    assert f"{len(CLAIMS)} not run" in claims.counts(everything)


def test_rows_of_another_profile_or_left_out_are_not_run():
    sota = ABLATIONS["sota"]
    found = {"sota": tables.build(sota, cells(sota, BASE, (0, 1)), results_of(sota, (0, 1)))}
    verdicts = {x.claim.name: x for x in claims.judge(CLAIMS, found)}
    assert verdicts["sota-base"].estimates and verdicts["sota-base"].verdict != NOT_RUN
    assert verdicts["sota-mochi"].why == "needs profile wan2.1-t2v-1.3b"
    assert verdicts["sota-total"].why == "needs profile wan2.1-t2v-1.3b"
    bare = replace(S3, rows=tuple(row for row in S3.rows if row.label != "0.1"))
    bare_found = {"lambda_hard": tables.build(bare, cells(bare, BASE, (0, 1)), results_of(S3))}
    assert verdict(more("0.1", "0.005", "PC"), bare_found).why == "a row of it is left out here"


@pytest.mark.slow
def test_chance_alone_rarely_decides_anything():
    """100 tables without any difference, 6 claims each: at most 5 % decide one, beyond 2 errors."""
    family = tuple(
        Claim(str(i), "lambda_hard", "", "", contrasts)
        for i, contrasts in enumerate(
            [
                more("0.02", "0.005", "PC"),
                more("0.02", "0.1", "PC"),
                more("0.02", "0.005", "SA"),
                more("0.1", "0.005", "PC", "SA"),
                more("0.02", ("0.005", "0.1"), "SA"),
                more("0.1", "0.02", "SA"),
            ]
        )
    )
    rng, wrong = np.random.default_rng(5), 0
    start = built()["lambda_hard"]
    for _ in range(100):
        prompt = rng.random(12)
        means, lines = {"PC": [], "SA": []}, []
        for line in start.lines:
            values = dict(line.values)
            for metric in means:
                matrix = prompt + 0.1 * rng.random((3, 1)) + 0.1 * rng.random((3, 12))
                scores = Scores(matrix, (0, 1, 2), True)
                values[metric] = replace(values[metric], scores=scores)
                means[metric].append(matrix.mean(-1))
            lines.append(replace(line, values=values, trained=True))
        pools = {metric: stats.pool(np.array(m)) for metric, m in means.items()}
        found = judged(family, {"lambda_hard": replace(start, lines=tuple(lines), pools=pools)})
        wrong += any(x.verdict != UNRESOLVED for x in found)
    assert wrong <= 5 + 2 * (100 * 0.05 * 0.95) ** 0.5


@pytest.mark.slow
def test_claims_on_readings_that_bear_them_out_and_that_refute_them():
    def verdicts(table):
        return {
            x.claim.name: x.verdict
            for x in claims.verdicts({table.ablation.name: table}).paper
            if x.claim.sweep == table.ablation.name
        }

    assert set(verdicts(made.built(S6, gradients)).values()) == {REPRODUCED}

    def reversed_(rng):
        found = gradients(rng)
        swapped = {"random": "mans", "mans": "random", "same": "other", "other": "same"}
        return {
            ".".join([swapped.get(kind, kind), reading]): values
            for name, values in found.items()
            for kind, reading in [name.split(".")]
        }

    assert verdicts(made.built(S6, reversed_)) == {
        "cosine-random": CONTRADICTED,
        "cosine-mans": CONTRADICTED,
        "cosine-deviation": CONTRADICTED,
        "proposition-1": CONTRADICTED,
    }
    found = verdicts(made.built(S4, seconds, label="block"))
    assert found == {"cost-time": REPRODUCED, "cost-memory": REPRODUCED}

    def slower(rng):
        found = seconds(rng)
        return found | {"direct.seconds_per_iteration": 1.1 * found["sft.seconds_per_iteration"]}

    assert verdicts(made.built(S4, slower))["cost-time"] == CONTRADICTED

    def unsteady(rng):
        found = seconds(rng)
        return found | {"direct.seconds_per_iteration": 0.5 + rng.random(12)}

    assert verdicts(made.built(S4, unsteady))["cost-time"] == UNRESOLVED


def test_a_contrast_has_the_p_of_its_table_and_a_claim_is_read_off_it():
    """`0.1 minus 0.02, PC` is declared; the claim says the reverse, and adds nothing."""
    found = built()
    declared = next(x for x in found["lambda_hard"].lines if x.row.label == "0.1").values["PC"]
    said = verdict(more("0.02", "0.1", "PC"), found)
    with_claim = tables.tested(found["lambda_hard"], ())
    (own,) = (x.values["PC"] for x in with_claim.lines if x.row.label == "0.1")
    assert said.verdict == CONTRADICTED and said.alone == (own.p_holm,) == (said.p_holm,)
    assert declared.difference == own.difference
    both = verdict(more("0.1", "0.02", "PC") + more("0.1", "0.005", "PC"), found)
    assert both.verdict == REPRODUCED and both.alone[1] is None, "the second is not declared"
    assert both.p_holm >= both.alone[0]
