"""The declared claims against the tables they name and the paper's own numbers."""

from sweeps.ablations import ABLATIONS
from sweeps.paper_claims import CLAIMS, alike, more, sign


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


def test_a_contrast_is_every_pair_of_rows_on_every_metric():
    found = more("a", ("b", "c"), "SA", "PC")
    assert [contrast.terms for contrast in found] == [
        ((1, "a", metric), (-1, other, metric)) for other in "bc" for metric in ("SA", "PC")
    ]
    assert {contrast.margin for contrast in found} == {None}
    (near,) = alike("a", "b", "PC", 1.5)
    assert near.terms == ((1, "a", "PC"), (-1, "b", "PC")) and near.margin == 1.5
    assert sign(-1, "a", "cosine")[0].terms == ((-1, "a", "cosine"),)


def test_every_claim_has_a_place_and_margins_are_positive():
    for claim in CLAIMS:
        assert claim.place and claim.text.endswith(".") and claim.name == claim.name.lower()
        assert all(c.margin is None or c.margin > 0 for c in claim.contrasts), claim.name
