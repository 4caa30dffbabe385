"""Verdicts on results whose truth is known, on chance alone, and on what was not run."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats as scipy_stats
from test_tables import BASE, S3, results_of

from direct.identity import identity
from sweeps import claims, paper_claims, tables
from sweeps.ablations import ABLATIONS
from sweeps.claims import CONTRADICTED, NOT_RUN, REPRODUCED, UNRESOLVED
from sweeps.paper_claims import CLAIMS, Claim, Contrast, alike, more
from sweeps.report.claims import markdown
from sweeps.schema import cells


def built(seeds=(0, 1, 2), missing=(), **more):
    planned, results = cells(S3, BASE, seeds), results_of(S3, seeds, **more)
    for cell in planned:
        if cell.row in missing:
            results.pop(identity(cell.config), None)
    return {"lambda_hard": tables.build(S3, planned, results)}


def verdict(contrasts, found=None):
    claim = Claim("x", "lambda_hard", "here", "text", contrasts)
    return claims.judge((claim,), found or built())[0]


def test_every_row_and_metric_of_a_claim_is_in_its_table():
    """A misspelt row would be "not run" for ever."""
    for claim in CLAIMS:
        table = ABLATIONS.get(claim.sweep)
        for contrast in claim.contrasts:
            assert table is None or all(
                row in {r.label for r in table.rows} and metric in table.metrics
                for _, row, metric in contrast.terms
            ), claim.name
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS)


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


def test_the_published_numbers_themselves_bear_the_claims_out():
    """Except where the paper contradicts itself, which the claims' notes say."""
    unlike = set()
    for claim in CLAIMS:
        published = ABLATIONS[claim.sweep].published if claim.sweep in ABLATIONS else {}
        for contrast in claim.contrasts:
            if not {row for _, row, _ in contrast.terms} <= set(published):
                continue
            d = sum(w * published[row][metric] for w, row, metric in contrast.terms)
            if not (d > 0 if contrast.margin is None else abs(d) < contrast.margin):
                unlike.add(claim.name)
    assert unlike == {"complementary", "direct-best"}
    assert all(claim.note for claim in CLAIMS if claim.name in unlike)


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
    (found,) = claims.judge((claim,), {"lambda_anc": tables.build(S1, planned, results)})
    a, b = (
        np.array([results[c.id]["scores"]["PC"] for c in planned if c.row == row])
        for row in ("0.1", "zero-shot")
    )
    own = claims.stats.estimate(100 * (a - b))
    assert found.estimates[0].low == pytest.approx(own.low)
    assert found.estimates[0].high == pytest.approx(own.high)


def test_one_seed_is_the_paired_t_test():
    found = verdict(more("0.02", "0.005", "PC"), built(seeds=(0,)))
    results = results_of(S3, (0,))
    a, b = (
        next(results[c.id]["scores"]["PC"] for c in cells(S3, BASE, (0,)) if c.row == row)
        for row in ("0.02", "0.005")
    )
    theirs = scipy_stats.ttest_rel(a, b)
    assert found.p_for == pytest.approx(theirs.pvalue) and found.verdict == REPRODUCED


def test_what_is_missing_is_not_run():
    found = verdict(more("0.1", "0.005", "PC"), built(missing=("0.1",)))
    assert found.verdict == NOT_RUN and "3 of its cells" in found.why
    everything = claims.verdicts({})
    assert {x.verdict for x in everything} == {NOT_RUN} and len(everything) == len(CLAIMS)
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
                scores = tables.Scores(matrix, (0, 1, 2), True)
                values[metric] = replace(values[metric], scores=scores)
                means[metric].append(matrix.mean(-1))
            lines.append(replace(line, values=values, trained=True))
        pools = {metric: claims.stats.pool(np.array(m)) for metric, m in means.items()}
        found = claims.judge(
            family, {"lambda_hard": replace(start, lines=tuple(lines), pools=pools)}
        )
        wrong += any(x.verdict != UNRESOLVED for x in found)
    assert wrong <= 5 + 2 * (100 * 0.05 * 0.95) ** 0.5


def test_the_page_of_claims_is_escaped_and_counts():
    evil = replace(CLAIMS[0], text="<script>|`\x1b[2J")
    found = claims.judge((evil, *CLAIMS[1:]), built())
    text = markdown(found, "world judge, tiny")
    assert "<script" not in text and "\x1b" not in text
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(lines) == 1 + len(CLAIMS)
    assert {len(line.replace("\\|", "").split("|")) for line in lines} == {7}
    assert claims.counts(found) in text and "docs" not in paper_claims.CLAIMS[0].text
