"""The plots of Tables S4 and S6, and every format of both."""

from dataclasses import replace

import pytest
from made_up_readings import BASE, S4, S6, built, gradients, seconds

from sweeps import tables
from sweeps.report import measured_plots, page, sheet, words
from sweeps.report.latex import latex
from sweeps.report.text import csv
from sweeps.schema import cells


@pytest.mark.slow
@pytest.mark.parametrize(("table", "make"), [(S4, seconds), (S6, gradients)])
def test_every_format_whole_and_empty(table, make):
    empty = tables.build(table, cells(table, BASE, table.seeds), {})
    for found in (built(table, make), empty):
        svg = sheet.svg(found, measured_plots.draw)
        assert svg == sheet.svg(found, measured_plots.draw) and "</svg>" in svg
        assert table.title in page.html(found, svg).replace("&lt;", "<")
        assert csv(found).count("\n") == 1 + len(table.rows) * len(table.metrics)
        assert r"\bottomrule" in latex(found)
        assert found.judge == "measured, tiny"
    assert "Incomplete" in words.caption(empty)


def test_the_plots_samples_leave_out_what_is_not_contrasted():
    table = built(S6, gradients)
    pairs = measured_plots.samples(table, "same")
    assert pairs.shape == (3 * 40 * 2, 2), "None in every third place"
    assert measured_plots.samples(replace(table, samples=()), "same").shape == (0, 2)
