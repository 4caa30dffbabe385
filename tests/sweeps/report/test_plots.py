"""Plots: every panel is there, and no date."""

from dataclasses import replace

import pytest
from made_up import build

from sweeps import paper
from sweeps.ablations import ABLATIONS
from sweeps.report import plots, sheet


def test_the_plot_has_every_panel(drawn):
    table, svg = drawn
    assert svg.count("world judge, tiny") == len(table.ablation.metrics)
    assert svg.count(paper.SCALE) == len([m for m in table.ablation.metrics if m != "PCcap"])
    assert "<dc:date>" not in svg


@pytest.mark.slow
def test_rows_without_an_axis_stand_side_by_side():
    few = replace(ABLATIONS["sampling"], metrics=("SA", "Mass", "Total"))
    svg = sheet.svg(build(few), plots.panels)
    assert svg.count("world judge, tiny") == 2  # Mass is in the table alone
    assert all(svg.count(label) >= 2 for label in ("Zero-shot", "+ MaNS + MiNS"))


def test_a_swept_setting_at_zero_is_a_level_and_the_rest_lie_on_the_axis(drawn):
    frame = plots._frame(drawn[0])
    assert frame.kind == "log" and frame.levels == ("0 (MaNS only)",)
    assert frame.places == {x: ("", float(x)) for x in ("0.005", "0.02", "0.1")}


def test_steps_along_the_axis_are_equal_by_eye():
    log = plots.Frame({"a": ("", 0.01), "b": ("", 1.0)}, (), "log", "")
    assert log.moved(0.1, 4) == pytest.approx(0.1 * 100 ** (4 * plots.DODGE))
    steps = plots.Frame({"a": ("", 10.0), "b": ("", 50.0)}, (), "steps", "")
    assert steps.moved(10, -2) == pytest.approx(10 - 2 * 40 * plots.DODGE)
    forest = plots.Frame({"a": ("", 0.0), "b": ("", 1.0)}, (), "forest", "")
    assert forest.moved(1, 1) == pytest.approx(0.8)


def test_points_of_one_run_stand_at_their_steps():
    frame = plots._frame(build(ABLATIONS["dynamics"]))
    assert frame.kind == "steps" and set(frame.series) == {"SFT", "DiReCT"}
    assert frame.places["SFT, fifth"] == ("SFT", 30.0)
    assert frame.places["DiReCT, end"] == ("DiReCT", 150.0)


def test_settings_are_mathematics_and_other_names_are_text():
    assert plots.mathematical("λ_hard") == r"$\lambda_{\mathrm{hard}}$"
    for name in ("K", "training steps", "λ_hard$x$", "λ_a b"):
        assert plots.mathematical(name) == name
