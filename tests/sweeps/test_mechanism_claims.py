"""Claims about the mechanism are about rows that there are."""

from sweeps.ablations import ABLATIONS
from sweeps.mechanism_claims import MECHANISM, UNGUIDED
from sweeps.paper_claims import CLAIMS


def test_every_contrast_names_rows_and_metrics_of_its_table():
    for claim in (*MECHANISM, *UNGUIDED):
        table = ABLATIONS[claim.sweep]
        labels = {row.label for row in table.rows}
        for contrast in claim.contrasts:
            assert {row for _, row, _ in contrast.terms} <= labels, claim.name
            assert {metric for _, _, metric in contrast.terms} <= set(table.metrics), claim.name
            assert abs(sum(weight for weight, _, _ in contrast.terms)) == 0


def test_claims_without_guidance_are_the_papers_word_for_word():
    papers = {claim.name: claim for claim in CLAIMS if claim.sweep == "sampling"}
    assert {claim.name: claim.contrasts for claim in UNGUIDED} == {
        name: claim.contrasts for name, claim in papers.items()
    }
