"""A plot's file as a part of the page, in the page's colours and font."""

from __future__ import annotations

import re

from markupsafe import Markup

COLORS = {  # of a plot's file, and of the page, where they follow the reader's scheme
    "fill: #ffffff": "fill: none",
    "#ffffff": "var(--page)",
    "#000000": "currentColor",
    "#0072b2": "var(--ours)",
    "#009e73": "var(--second)",
    "#cc79a7": "var(--third)",
    "#d55e00": "var(--paper)",
    "#b0b0b0": "var(--grid)",
    "#777777": "var(--level)",
}


def inline(svg: str, name: str) -> Markup:
    """An SVG document of our own from the attributes of its root on.

    The template writes `<svg` and the label before it, so that the label is escaped as all text is.
    """
    svg = svg[svg.index("<svg") :]  # without the XML declaration
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.S)
    svg = re.sub(r"font-family: [^;\"]*;?", "", svg)
    svg = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0]), svg)  # 0.01 pt
    for color, variable in COLORS.items():
        svg = svg.replace(color, variable)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", svg, count=1)
    return Markup(_own_ids(svg, name).removeprefix("<svg"))


def _own_ids(svg: str, name: str) -> str:
    """Every id of the drawing gets a name in front: one page holds several drawings."""
    return re.sub(r'\bid="|href="#|url\(#', lambda found: f"{found[0]}{name}-", svg)
