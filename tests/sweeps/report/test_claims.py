"""Claims and verdicts in words."""

from dataclasses import replace

import pytest
from made_up import BASE, S3, results_of

from direct.identity import identity
from sweeps import claims, paper_claims, stats, tables
from sweeps.control import Control
from sweeps.mechanism_claims import MECHANISM
from sweeps.paper_claims import CLAIMS, Claim, Contrast, alike, more, sign
from sweeps.report import claims as claims_report
from sweeps.report.claims import markdown
from sweeps.schema import cells


def built(seeds=(0, 1, 2), missing=(), **more):
    planned, results = cells(S3, BASE, seeds), results_of(S3, seeds, **more)
    for cell in planned:
        if cell.row in missing:
            results.pop(identity(cell.config), None)
    return {"lambda_hard": tables.build(S3, planned, results)}


def test_the_page_of_claims_is_escaped_and_counts():
    evil = replace(CLAIMS[0], text="<script>|`\x1b[2J")
    verdicts = claims.verdicts(built())
    found = claims.judge((evil, *CLAIMS[1:]), built())
    text = markdown(replace(verdicts, paper=found), "world judge, tiny", Control("<b>", "none"))
    assert "<script" not in text and "\x1b" not in text and "<b>" not in text
    assert text.index("&lt;b&gt;") < text.index("## Claims of the paper")
    papers, ours = (
        [row for row in part.splitlines() if row.startswith("| ")]
        for part in text.split("## Claims about the mechanism")
    )
    assert len(papers) == 1 + len(CLAIMS) and len(ours) == 1 + len(MECHANISM)
    widths = [{len(x.replace("\\|", "").split("|")) for x in part} for part in (papers, ours)]
    assert widths == [{8}, {7}]
    assert claims.counts(found) in text and "docs" not in paper_claims.CLAIMS[0].text


def test_a_claim_of_table_1_stands_beside_itself_without_guidance():
    verdicts = claims.verdicts({})
    (papers, ours) = claims_report.parts(verdicts, "world judge, tiny")
    assert papers.heads[2] == "without guidance" and len(ours.heads) == len(papers.heads) - 1
    for finding, (kind, before, _, _) in zip(verdicts.paper, papers.rows, strict=True):
        twin = "not run" in before[2] and "sampling_unguided" in before[2]
        assert kind == "open" and twin == (finding.claim.sweep == "sampling")
    estimate = stats.Estimate(1.0, 0.5, 1.5, 0.2, 0.001, 3, 12)
    claim = replace(verdicts.paper[0].claim, contrasts=more("a", "b", "PC"))
    done = claims.Finding(claim, claims.REPRODUCED, (estimate,), p_holm=0.0004)
    assert claims_report._beside(done) == "reproduced, p < 0.001"
    assert claims_report._beside(None) == "–"


@pytest.mark.parametrize(
    ("contrast", "words"),
    [
        (more("32", "8", "PC")[0], "PC: [32] − [8] > 0"),
        (alike("32", "8", "SA", 1.5)[0], "SA: |[32] − [8]| < 1.5"),
        (sign(-1, "mans", "cosine")[0], "cosine: − [mans] > 0"),
        (
            Contrast(((1, "a", "PC"), (-0.5, "b", "PC"), (-1, "a", "SA"))),
            "[PC(a)] − 0.5 × [PC(b)] − [SA(a)] > 0",
        ),
    ],
)
def test_a_contrast_is_written_as_a_reader_would(contrast, words):
    assert claims_report.contrast_words(contrast) == words


def test_an_estimate_has_digits_that_say_something_and_its_own_p():
    def words(*numbers, p=None, metric="PC"):
        found = stats.Estimate(*numbers, 0.5, 0.9, 3, 12)
        return claims_report.estimate_words(more("a", "b", metric)[0], found, p)

    assert words(-0.001, -1.234, 1.236) == "+0.00 [-1.23, +1.24]", "no negative zero"
    assert words(-0.3, -0.58, -0.02, p=0.037) == "-0.30 [-0.58, -0.02], p = 0.037"
    assert words(0.0002, -0.0001, 0.0005) == "+0.0002 [-0.0001, +0.0005]"
    assert words(0.0, 0.0, 0.0, p=1.0) == "identical"
    assert words(0.0021, 0.0011, 0.0031, metric="cosine") == "+0.002 [+0.001, +0.003]"


def test_five_contrasts_are_shown_and_the_rest_folded():
    texts = [f"c{k}" for k in range(8)]
    assert claims_report._folded(texts[:5]) == "c0<br>c1<br>c2<br>c3<br>c4"
    assert claims_report._folded(texts) == (
        "c0<br>c1<br>c2<br>c3<br>c4<details><summary>3 more</summary>c5<br>c6<br>c7</details>"
    )


def test_rows_say_why_nothing_was_tested_and_how_sure_the_rest_is():
    claim = Claim("x", "lambda_hard", "Sec. 5", "A text.", more("0.1", "0.005", "PC"), "A note.")
    estimate = stats.Estimate(1.0, 0.5, 1.5, 0.2, 0.001, 3, 12)
    told = claims_report.rows(
        [
            claims.Finding(claim, claims.NOT_RUN, why="no results"),
            claims.Finding(claim, claims.REPRODUCED, (estimate,), p_holm=0.0004),
            claims.Finding(claim, claims.UNRESOLVED, (estimate,), p_holm=0.25),
        ]
    )
    assert [row[1] for row in told] == [
        "not run (no results)",
        "reproduced",
        "not resolved at this power",
    ]
    assert [row[2] for row in told] == ["–", "< 0.001", "0.250"]
    assert told[0][3] == ["PC: [0.1] − [0.005] > 0"]
    assert told[1][3] == ["PC: [0.1] − [0.005] > 0: +1.00 [+0.50, +1.50]"]
    assert {row[0] for row in told} == {"A text. Note: A note."}
    assert {row[4] for row in told} == {"Sec. 5; lambda_hard"}
