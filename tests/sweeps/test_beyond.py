"""Sentences about rows of ours, on results whose truth is known; the blocks and notes they need."""

from dataclasses import replace

import numpy as np
import pytest
from test_tables import BASE, build, line, results_of

from sweeps import stats, tables
from sweeps.ablations import ABLATIONS
from sweeps.report import beyond, layout
from sweeps.report.text import markdown
from sweeps.schema import cells

GAINS = {"MaNS: in-batch negatives (ΔFM's)": 0.05, "init: SFT for the first half": -0.05}


def shifted(cell, scores):
    """PC moved by a known amount; everything else is chance."""
    gain = GAINS.get(cell.row, 0.0)
    return scores | {"PC": scores["PC"] + gain}


@pytest.fixture(scope="module")
def table():
    return build(ABLATIONS["beyond"], change=shifted)


def test_what_helps_and_what_hurts_is_said_in_words(table):
    sa, pc = beyond.words(table)
    assert pc.startswith("PC (Holm") and sa.startswith("SA (Holm")
    helps, hurts, alike, *_ = pc.split(": ", 1)[1].split("; ")
    assert helps.startswith("helps: “MaNS: in-batch negatives (ΔFM's)” (+4") or "(+5" in helps
    assert hurts.startswith("hurts: “init: SFT for the first half” (-")
    assert "no difference as large as 1.5 points" in alike and alike.count("“") == 10
    assert "helps: none" in sa and "hurts: none" in sa
    assert beyond.words(build()) == [], "the paper's own tables have claims instead"
    assert pc in layout.notes(table)


def test_outcomes_follow_p_and_the_interval(table):
    value = line(table, "MiNS: forces alone").values["PC"]
    d = value.difference
    for mean, low, high, p, expected in (
        (0.02, 0.01, 0.03, 0.001, "helps"),
        (-0.02, -0.03, -0.01, 0.001, "hurts"),
        (0.02, 0.01, 0.03, 0.2, "not resolved"),
        (0.001, -0.014, 0.014, 0.9, "alike"),
        (0.001, -0.016, 0.014, 0.9, "not resolved"),
        (0.01, 0.001, 0.02, 0.049, "helps"),
        (0.01, 0.001, 0.02, 0.05, "not resolved"),
    ):
        found = replace(value, difference=replace(d, mean=mean, low=low, high=high), p_holm=p)
        assert beyond.outcome(found, 100, 1.5) == expected
    assert beyond.outcome(None, 100, 1.5) == "not run"
    assert beyond.outcome(replace(value, p_holm=None), 100, 1.5) == "not run"


def test_a_row_that_is_not_run_is_said_to_be():
    declared = ABLATIONS["beyond"]
    planned, results = cells(declared, BASE, (0, 1)), results_of(declared, (0, 1))
    for cell in planned:
        if cell.row == "MiNS: forces alone":
            results.pop(cell.id)
    assert (
        "not run: “MiNS: forces alone”" in beyond.words(tables.build(declared, planned, results))[0]
    )


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
        assert "nothing is pooled" in " ".join(layout.notes(plain))
        assert one.half == pytest.approx(
            stats.estimate(line(plain, label).values["PC"].differences).half
        )


def test_table_s5_shows_what_the_exclusion_changes():
    declared = ABLATIONS["clusters"]
    planned, results = cells(declared, BASE, (0, 1)), results_of(declared, (0, 1))
    for cell in planned:
        macro = cell.config.macro
        results[cell.id]["negatives"] = {
            "sum_p_squared": 1 / macro.clusters,
            "distance": 2.1,
            "uniform_distance": 2.0,
            "changed": 1 / macro.clusters + 0.1 * macro.exclude_same_law,
        }
    *_, block = layout.blocks(tables.build(declared, planned, results))
    rows = {row[0].text: [entry.text for entry in row[1:]] for row in block.rows}
    assert len(rows) == 10
    assert rows["32"] == ["0.031", "0.131", "2.1000", "+5.00 %"]
    assert rows["32, laws not excluded*"] == ["0.031", "0.031", "2.1000", "+5.00 %"]
    bare = layout.blocks(build(declared))
    assert len(bare) == 2, "results of another version do not say it"


def test_peers_rows_say_what_they_need():
    text = markdown(build(ABLATIONS["sota"]))
    assert "| CogVideoX-5B | needs profile wan2.1-t2v-1.3b | –" in text
    assert "| LTX | needs profile wan2.1-t2v-1.3b | –" in text
    assert "| 5B | 47.30 | 42.79 |" in text and "3 training seeds" in text
