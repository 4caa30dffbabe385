"""Captions and blocks of a written table."""

import re

import pytest
from made_up import BASE, build, line, results_of

from sweeps import stats, tables
from sweeps.ablations import ABLATIONS
from sweeps.report import layout
from sweeps.schema import cells


def test_the_caption_has_n_interval_power_and_commit():
    table = build()
    text = layout.caption(table)
    for words in (
        "3 training seeds × 12 prompts",
        "random seeds",
        "world judge, tiny",
        "paper, Wan2.1-1.3B",
        "80 % power, after Holm over 4 contrasts",
        "abc123",
    ):
        assert words in text
    printed = float(re.search(r"difference: ([\d.]+) points", text)[1])
    d = [line(table, label).values["PC"].difference for label in ("0.005", "0.1")]
    by_normal = max(
        x.se * (stats.critical(x.parts, 0.05 / 4) + stats.critical(x.parts, 0.4)) for x in d
    )
    assert printed == pytest.approx(100 * by_normal, rel=0.1)
    assert "this one seed (fixed)" in layout.caption(build(seeds=(0,)))


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
