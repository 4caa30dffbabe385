"""The declared claims against the tables they name and the paper's own numbers."""

from sweeps.ablations import ABLATIONS
from sweeps.paper_claims import CLAIMS


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
