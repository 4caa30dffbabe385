"""Sentences about rows of ours, on results whose truth is known."""

from dataclasses import replace

import pytest
from made_up import BASE, build, line, results_of

from sweeps import tables
from sweeps.ablations import ABLATIONS
from sweeps.report import beyond, words
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
    assert pc in words.notes(table)


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
