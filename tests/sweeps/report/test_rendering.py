"""What cheaper negatives cost and whether they do the same, on results whose truth is known."""

import json

import pytest
from made_up import BASE, build, results_of

from direct.measure import cheap
from sweeps import tables
from sweeps.ablations import ABLATIONS
from sweeps.mechanism_ablations import CHEAP, FULL, NO_HARD
from sweeps.report import layout, rendering, text, words
from sweeps.schema import cells

DECLARED, SEEDS = ABLATIONS["cheap_negatives"], tuple(range(6))
SAME, OTHER, OPEN = "a quarter of the steps", "half the frames, stretched", "half the steps"


@pytest.fixture(scope="module")
def table():
    """PC: the full rendering's, and a constant shift; OPEN is almost the margin away."""
    planned = cells(DECLARED, BASE, SEEDS)
    full = {c.config.seed: c.id for c in planned if c.row == FULL}
    results = results_of(DECLARED, SEEDS)
    for cell in planned:
        seed = cell.config.seed
        own = results[cell.id]
        shift = {OTHER: 0.05, OPEN: 0.0099}.get(cell.row, 0.0)
        pc = results[full[seed]]["scores"]["PC"]
        jitter = 1e-4 * (seed - 2.5)
        own["scores"]["PC"] = [x + (cell.row != FULL) * (shift + jitter) for x in pc]
        if cell.row != NO_HARD:
            own["negatives"] = {"passes": 2.0 * cell.config.hard_sample.steps}
    return tables.build(DECLARED, planned, results)


def test_verdicts_are_those_of_the_equivalence_test(table):
    found = {offer["row"]: offer for offer in rendering.offers(table)}
    assert list(found) == [FULL, *CHEAP, NO_HARD]
    assert found[SAME]["verdict"] == rendering.EQUIVALENT
    assert found[OTHER]["verdict"] == rendering.DIFFERENT
    assert found[OPEN]["verdict"] == rendering.OPEN and found[FULL]["verdict"] == ""
    assert found[FULL]["difference"] is None and found[NO_HARD]["passes"] == 0
    pc = {line.row.label: line.values["PC"].difference for line in table.lines}
    for label in (SAME, OTHER, NO_HARD):
        assert found[label]["difference"] == pytest.approx(100 * pc[label].mean)
    lost = f"altogether changes PC by {found[NO_HARD]['difference']:+.2f}."
    assert any(lost in note for note in words.notes(table))
    assert (found[SAME]["passes"], found[SAME]["relative"], found[SAME]["steps"]) == (6, 0.25, 3)
    assert len(table.family) == 1 + len(CHEAP), "one declared contrast, and an equivalence each"


def test_the_report_says_them_and_the_plan_reads_them(table, tmp_path):
    block = next(b for b in layout.blocks(table) if b.title == "What a hard negative costs")
    row = next(r for r in block.rows if r[0].text == SAME)
    assert [entry.text for entry in row][1:3] == ["6.0", "25 %"]
    assert row[3].text.startswith("equivalent within 1 point, p ")
    path = tmp_path / "cheap_negatives.json"
    path.write_text(text.provenance(table))
    said = cheap.offer(BASE, path, lambda config: 10.0 * config.hard_sample.steps)
    assert "30.0 GPU-hours in place of 120.0" in said and "hard_sample.steps=3" in said


def test_where_no_claim_asks_there_is_no_column_of_dashes(table, monkeypatch):
    found = [offer | {"words": "–"} for offer in rendering.offers(table)]
    monkeypatch.setattr(rendering, "offers", lambda table: found)
    block = next(b for b in layout.blocks(table) if b.title == "What a hard negative costs")
    assert {len(block.columns), *map(len, block.rows)} == {3}


def test_tables_without_such_costs_say_nothing():
    plain = build()
    assert rendering.offers(plain) == [] and "rendering" not in json.loads(text.provenance(plain))
