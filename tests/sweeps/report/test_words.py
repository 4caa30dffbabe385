"""Captions and notes of tables."""

import re
from dataclasses import replace

import pytest
from made_up import build, line

from sweeps import stats
from sweeps.report import words
from sweeps.table import Old


def test_the_caption_has_n_interval_power_and_commit():
    table = build()
    text = words.caption(table)
    for said in (
        "3 training seeds × 12 prompts",
        "random seeds",
        "world judge, tiny",
        "paper, Wan2.1-1.3B",
        "80 % power, after Holm over 5 hypotheses",
        "abc123",
    ):
        assert said in text
    printed = float(re.search(r"difference: ([\d.]+) points", text)[1])
    d = [line(table, label).values["PC"].difference for label in ("0.005", "0.1")]
    by_normal = max(
        x.se * (stats.critical(x.parts, 0.05 / 5) + stats.critical(x.parts, 0.4)) for x in d
    )
    assert printed == pytest.approx(100 * by_normal, rel=0.1)
    assert "this one seed (fixed)" in words.caption(build(seeds=(0,)))


def test_old_results_are_named_in_the_notes(table_s3):
    old = replace(table_s3, old=Old(2, 12, ("direct.flow", "direct.noise")))
    (said,) = [note for note in words.notes(old) if note.startswith("Old results")]
    assert "2 of 12 cells" in said and "direct.flow, direct.noise" in said
    new = words.notes(replace(table_s3, old=None))
    assert not [note for note in new if note.startswith("Old results")]


def test_notes_about_p_and_looks_say_what_there_is(table_s3):
    assert any(f"family of {len(table_s3.family)} hyp" in x for x in words.notes(table_s3))
    assert not any("Holm" in x for x in words.notes(replace(table_s3, family={})) if x[:2] == "p:")
    added = replace(table_s3, ablation=replace(table_s3.ablation, rounds=(3, 6)), looks=2)
    (note,) = (x for x in words.notes(added) if x.startswith("Seeds were added"))
    assert "until all was decided or the last look was taken" in note and "within 1 point (" in note
