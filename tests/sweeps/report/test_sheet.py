"""Drawings as files: the sizes of a paper, whole and the same twice, for every kind of plot."""

import re

import pytest
from made_up import BASE, build
from made_up_readings import S4, S6, gradients, seconds
from made_up_readings import built as measured

from sweeps import tables
from sweeps.report import gain_plot, guidance_plots, heatmap, measured_plots, plots, sheet
from sweeps.schema import cells

from .test_gain_plot import TABLE, results
from .test_guidance_plots import built as guided
from .test_heatmap import built as gridded

DRAWN = {
    "rows": (build, plots.panels),
    "heatmap": (gridded, heatmap.draw),
    "map": (lambda: guided("map"), guidance_plots.heatmap),
    "guidance": (lambda: guided("guidance"), guidance_plots.lines),
    "cost": (lambda: measured(S4, seconds), measured_plots.draw),
    "alignment": (lambda: measured(S6, gradients), measured_plots.draw),
    "gain": (lambda: tables.build(TABLE, cells(TABLE, BASE, (0,)), results()), gain_plot.draw),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", DRAWN)
def test_a_paper_has_plots_a_page_and_a_column_wide(kind):
    make, draw = DRAWN[kind]
    found = sheet.printed(make(), draw)
    assert set(found) == {f"_{w}.{kind}" for w in ("page", "column") for kind in ("pdf", "svg")}
    for name, width in (("page", 6.75), ("column", 3.25)):
        pdf, svg = found[f"_{name}.pdf"], found[f"_{name}.svg"].decode()
        box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+) ", pdf)
        assert float(box[1]) == pytest.approx(72 * width) and f'width="{72 * width:g}pt"' in svg
        assert float(box[2]) < 72 * 9.5, "it fits on a page"
        assert b"CreationDate" not in pdf and pdf.startswith(b"%PDF")
        sizes = {float(x) for x in re.findall(r"font[-size]*: [a-z ]*([\d.]+)px", svg)}
        assert sizes and min(sizes) >= 6 and max(sizes) <= 9
    if kind == "rows":
        assert found["_column.svg"].count(b"PC: ") == 3 and b"SA: " not in found["_column.svg"]
        assert sheet.printed(make(), draw) == found, "the same bytes for the same results"


def test_a_label_that_reads_as_mathematics_is_drawn_as_text():
    drawn = sheet.as_svg("own", lambda figure: figure.text(0.5, 0.5, "$x$ <&> _a"))
    assert ">$x$ &lt;&amp;&gt; _a</text>" in drawn


def test_panels_have_the_sizes_that_are_asked_for():
    from matplotlib.figure import Figure

    for size, width in ((None, 1 + 2 * 2 + 0.5 + 0.25), (sheet.PAGE, 6.75)):
        figure = Figure()
        axes = sheet.panels(figure, (3, 2), (1, 0.25, 0.75, 0.5), (0.5, 0.25), (2, 1), size)
        height = 0.5 + 3 * 1 + 2 * 0.25 + 0.75
        assert figure.get_size_inches() == pytest.approx((width, height))
        box, own = axes[2, 0].get_position(), (width - 1.75) / 2
        assert (box.x0 * width, box.y0 * height) == pytest.approx((1, 0.75))
        assert (box.width * width, box.height * height) == pytest.approx((own, 1))


def test_words_are_wrapped_to_their_width():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3, 3))
    sheet.note(figure, "word " * 40)
    (text,) = figure.texts
    assert text.get_text().count("\n") >= 3
    assert max(map(len, text.get_text().split("\n"))) <= 2.9 * 72 / (0.55 * 9)
