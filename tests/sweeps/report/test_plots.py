"""Plots: every panel is there, and no date."""

import re
from dataclasses import replace

import pytest
from made_up import build

from sweeps import paper
from sweeps.ablations import ABLATIONS
from sweeps.report import plots


def test_the_plot_has_every_panel(drawn):
    table, svg = drawn
    assert svg.count("world judge, tiny") == len(table.ablation.metrics)
    assert svg.count(paper.SCALE) == len([m for m in table.ablation.metrics if m != "PCcap"])
    assert "<dc:date>" not in svg


@pytest.mark.slow
def test_rows_without_an_axis_stand_side_by_side():
    few = replace(ABLATIONS["sampling"], metrics=("SA", "Mass", "Total"))
    svg = plots.svg(build(few))
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


def test_a_label_that_reads_as_mathematics_is_drawn_as_text():
    drawn = plots.as_svg("own", lambda figure: figure.text(0.5, 0.5, "$x$ <&> _a"))
    assert ">$x$ &lt;&amp;&gt; _a</text>" in drawn


@pytest.mark.slow
def test_a_paper_has_plots_a_page_and_a_column_wide(table_s3):
    found = plots.printed(table_s3)
    assert set(found) == {f"_{w}.{kind}" for w in ("page", "column") for kind in ("pdf", "svg")}
    for name, width in (("page", 6.75), ("column", 3.25)):
        pdf, svg = found[f"_{name}.pdf"], found[f"_{name}.svg"].decode()
        box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ", pdf)[1]
        assert float(box) == pytest.approx(72 * width) and f'width="{72 * width:g}pt"' in svg
        assert b"CreationDate" not in pdf and pdf.startswith(b"%PDF")
        sizes = {float(x) for x in re.findall(r"font[-size]*: [a-z ]*([\d.]+)px", svg)}
        assert sizes and min(sizes) >= 6 and max(sizes) <= 9
    assert found["_column.svg"].count(b"PC: ") == 3 and b"SA: " not in found["_column.svg"]
    assert plots.printed(table_s3) == found, "the same bytes for the same results"


def test_settings_are_mathematics_and_other_names_are_text():
    assert plots.mathematical("λ_hard") == r"$\lambda_{\mathrm{hard}}$"
    for name in ("K", "training steps", "λ_hard$x$", "λ_a b"):
        assert plots.mathematical(name) == name
