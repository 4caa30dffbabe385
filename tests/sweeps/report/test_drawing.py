"""A plot's file as a part of the page."""

import re

from sweeps.report import drawing, plots


def test_a_plot_on_the_page_keeps_its_words(written):
    """Coordinates are shortened, what a reader sees is not; colours follow the scheme."""
    built = written[0]
    svg = plots.svg(built["lambda_hard"])
    drawn = drawing.inline(svg, "x")
    words = [re.findall(r">([^<>]+)</text>", s) for s in (svg, drawn)]
    assert words[0] == words[1] and "0.005" in words[1]
    assert len(drawn) < 0.85 * len(svg)
    assert not re.search("#000000|#ffffff|#0072b2", drawn) and "var(--ours)" in drawn
