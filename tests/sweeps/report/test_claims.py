"""Claims and verdicts in words."""

from dataclasses import replace

from made_up import BASE, S3, results_of

from direct.identity import identity
from sweeps import claims, paper_claims, tables
from sweeps.paper_claims import CLAIMS
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
    found = claims.judge((evil, *CLAIMS[1:]), built())
    text = markdown(found, "world judge, tiny")
    assert "<script" not in text and "\x1b" not in text
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(lines) == 1 + len(CLAIMS)
    assert {len(line.replace("\\|", "").split("|")) for line in lines} == {7}
    assert claims.counts(found) in text and "docs" not in paper_claims.CLAIMS[0].text
