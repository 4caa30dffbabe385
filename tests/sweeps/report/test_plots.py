"""Plots: every panel is there, and no date."""

from dataclasses import replace

from made_up import build

from sweeps import paper
from sweeps.ablations import ABLATIONS
from sweeps.report import plots


def test_the_plot_has_every_panel(drawn):
    table, svg = drawn
    assert svg.count("world judge, tiny") == len(table.ablation.metrics)
    assert svg.count(paper.SCALE) == len([m for m in table.ablation.metrics if m != "PCcap"])
    assert "<dc:date>" not in svg


def test_rows_without_an_axis_stand_side_by_side():
    few = replace(ABLATIONS["sampling"], metrics=("SA", "Mass", "Total"))
    svg = plots.svg(build(few))
    assert svg.count("world judge, tiny") == 2  # Mass is in the table alone
    assert all(svg.count(label) >= 2 for label in ("Zero-shot", "+ MaNS + MiNS"))
