"""A plot's file as a part of the page."""

import re

import pytest

from sweeps.report import drawing, plots, sheet


@pytest.mark.slow
def test_a_plot_on_the_page_keeps_its_words(written):
    """Coordinates are shortened, what a reader sees is not; colours follow the scheme."""
    built = written[0]
    svg = sheet.svg(built["lambda_hard"], plots.panels)
    drawn = drawing.inline(svg, "x")
    words = [re.findall(r">([^<>]+)</text>", s) for s in (svg, drawn)]
    assert words[0] == words[1] and "0.005" in words[1]
    assert len(drawn) < 0.85 * len(svg)
    assert not re.search("#000000|#ffffff|#0072b2", drawn) and "var(--ours)" in drawn


PLOT = (
    '<?xml version="1.0"?>\n<svg width="10pt" height="20pt" viewBox="0 0 10 20">'
    "<metadata><dc:date>now</dc:date></metadata><style>* {stroke: red}</style>"
    '<defs><clipPath id="c"><rect/></clipPath></defs><g clip-path="url(#c)">'
    '<path id="p" d="M 1.23456 7.1 L 2.005 3" style="fill: #000000"/>'
    '<use href="#p" style="stroke: #0072b2; font-family: sans"/>'
    "<text>1.23456 of #p</text></g></svg>"
)


def test_only_coordinates_are_shortened_and_text_is_left_alone():
    drawn = drawing.inline(PLOT, "a")
    assert 'd="M 1.23 7.1 L 2.00 3"' in drawn and ">1.23456 of #p<" in drawn
    assert "font-family" not in drawn and "<style" not in drawn and "dc:date" not in drawn
    assert "fill: currentColor" in drawn and "stroke: var(--ours)" in drawn


def test_the_template_writes_the_roots_start_and_its_size_is_the_view_box():
    drawn = drawing.inline(PLOT, "a")
    assert drawn.startswith(' viewBox="0 0 10 20">') and drawn.endswith("</svg>")


def test_two_drawings_on_one_page_share_no_id():
    ids = [set(re.findall(r'id="([^"]*)"', drawing.inline(PLOT, name))) for name in "ab"]
    assert ids == [{"a-c", "a-p"}, {"b-c", "b-p"}]
    drawn = drawing.inline(PLOT, "a")
    assert 'href="#a-p"' in drawn and "url(#a-c)" in drawn
