"""Tables S4 and S6 from known readings: their numbers, and what stands beside them."""

from dataclasses import replace

import numpy as np
import pytest
from made_up import BASE, S3
from made_up_readings import S4, S6, built, gradients, seconds, value

from sweeps import tables
from sweeps.report import measured
from sweeps.report.text import markdown, provenance
from sweeps.schema import cells


def test_table_s6_holds_what_was_put_in():
    table = built(S6, gradients)
    for label, kind in (("ΔFM (random neg.)", "random"), ("DiReCT-MaNS (ours)", "mans")):
        made = [gradients(np.random.default_rng(i))[f"{kind}.cosine"] for i in range(3)]
        assert value(table, label, "cosine").mean.mean == pytest.approx(np.mean(made))
        expected = np.mean([x.std(ddof=1) for x in made])
        assert value(table, label, "deviation").mean.mean == pytest.approx(expected, rel=0.02)
        assert value(table, label, "correlation").mean.mean == pytest.approx(1)
        assert value(table, label, "cosine").scores.matrix.shape == (3, 40)
    marginal = value(table, "MaNS, marginal noise (not comparable)", "cosine")
    assert marginal.difference is None, "never compared across noises"
    text = markdown(table)
    assert "**" not in text.split("## ")[1] and "<u>" not in text, "nothing is ranked"
    assert "n = 3 training seeds × 40 steps" in text and "| 0.12 | 0.21 |" in text
    assert "not of its negative" in text and "VideoPhy" not in text and "judge" not in text
    assert '"with_anchor": 2.0' in provenance(table)


def test_table_s4_ranks_the_lowest_first():
    table = built(S4, seconds, label="block")
    assert value(table, "flow matching alone", "memory_gb").best
    assert value(table, "SFT", "memory_gb").second and not value(table, "SFT", "memory_gb").best
    assert not any(value(table, "SFT", part).best for part in ("forward", "data"))
    change = value(table, "DiReCT", "seconds_per_iteration").difference
    assert change.low > 0 and change.mean == pytest.approx(0.011, rel=0.05), "paired by block"
    text = markdown(table)
    assert "Time (s/iter) ↓" in text and "Mem. (GB) ↓" in text and "↑" not in text
    assert "| 23.29 | 4.94 |" in text and "a processor" in text and "1,240,000 parameters" in text


def test_what_stands_beside_a_table_says_what_was_measured_on_what():
    table = built(S4, seconds, label="block")
    said = measured.source(table)
    train = table.config.train
    assert f"batch {train.batch}" in said and "1,240,000 parameters" in said
    assert "Ours: a processor" in said and "Compare rows, not values." in said
    bare = replace(table, provenance={})
    assert "no device yet" in measured.source(bare) and "parameters" not in measured.source(bare)
    steps = table.config.measure.steps
    alignment = replace(table, ablation=S6)
    assert f"the first {steps} steps of its training" in measured.source(alignment)


def test_notes_are_about_the_table_they_stand_under():
    cost, alignment = (measured.notes(built(*x)) for x in ((S4, seconds), (S6, gradients)))
    assert any(note.startswith("Memory:") for note in cost)
    assert any(note.startswith("Proposition 1:") for note in alignment)
    assert not set(cost) & set(alignment)
    assert measured.notes(tables.build(S3, cells(S3, BASE, (0,)), {})) == []
