"""A drawing as a file: SVG for the page, and PDF and SVG at the sizes of a paper.

The same bytes for the same results: no date, fixed ids, text as text.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..table import Table

STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True)
class Print:
    """A size of paper: the figure's width in inches, and how many metrics fit beside each other."""

    width: float
    metrics: tuple[str, ...]


PAGE, COLUMN = Print(6.75, ("SA", "PC", "AVG")), Print(3.25, ("PC",))
PRINTED: dict[str, Any] = {  # 6 to 8 pt text
    "font.size": 7,
    "pdf.fonttype": 42,
    "lines.linewidth": 0.8,
    "hatch.linewidth": 0.5,
}

Draw = Callable[..., None]  # (table, figure, size: Print | None = None): on an empty figure


def svg(table: Table, draw: Draw) -> str:
    return as_svg(table.ablation.name, partial(draw, table))


def printed(table: Table, draw: Draw) -> dict[str, bytes]:
    """The plot for a paper, by the end of its file's name: a page wide, and a column wide."""
    found = {}
    for end, size in (("_page", PAGE), ("_column", COLUMN)):
        sized = partial(draw, table, size=size)
        found[f"{end}.pdf"] = as_pdf(sized)
        found[f"{end}.svg"] = as_svg(f"{table.ablation.name}{end}", sized, PRINTED).encode()
    return found


def as_pdf(draw: Callable[[Any], None]) -> bytes:
    """What `draw` puts on an empty figure, at a paper's size of text."""
    import matplotlib
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.figure import Figure

    style: Any = STYLE | PRINTED
    with matplotlib.rc_context(style):
        figure = Figure()
        FigureCanvasPdf(figure)
        draw(figure)
        out = io.BytesIO()
        dateless = {"CreationDate": None, "Creator": None, "Producer": None}
        figure.savefig(out, format="pdf", metadata=dateless)
    return out.getvalue()


def as_svg(name: str, draw: Callable[[Any], None], more: dict[str, Any] | None = None) -> str:
    """What `draw` puts on an empty figure; `more` settings of matplotlib's."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: Any = STYLE | (more or {}) | {"svg.hashsalt": name}
    with matplotlib.rc_context(style):
        figure = Figure()
        FigureCanvasSVG(figure)
        draw(figure)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return re.sub(r"[ \t]+\n", "\n", out.getvalue())


def panels(
    figure: Any,
    shape: tuple[int, int],
    margins: tuple[float, float, float, float],
    gaps: tuple[float, float],
    panel: tuple[float, float],
    size: Print | None = None,
    **more: Any,
) -> Any:
    """Axes [rows, columns] with fixed margins: matplotlib's own layouts draw several times.

    All in inches. margins: left, right, bottom, top. gaps: between columns, and between rows.
    panel: width and height of one; with `size`, the width follows from the paper's.
    """
    (rows, columns), (left, right, bottom, top), (beside, between) = shape, margins, gaps
    wide, tall = panel
    if size:
        wide = (size.width - left - right - (columns - 1) * beside) / columns
    width = left + columns * wide + (columns - 1) * beside + right
    height = top + rows * tall + (rows - 1) * between + bottom
    figure.set_size_inches(width, height)
    axes = figure.subplots(rows, columns, squeeze=False, **more)
    figure.subplots_adjust(
        left=left / width,
        right=1 - right / width,
        top=1 - top / height,
        bottom=bottom / height,
        wspace=beside / wide,
        hspace=between / tall,
    )
    return axes


def entitle(ax: Any, text: str) -> None:
    """A title that is wrapped to its panel's width."""
    inches = ax.get_position().width * ax.figure.get_size_inches()[0]
    ax.set_title(_wrapped(text, inches), fontsize="medium")


def note(figure: Any, text: str) -> None:
    """Words at the foot, wrapped to the figure's width."""
    inches = figure.get_size_inches()[0] - 0.1
    figure.text(0.01, 0.02, _wrapped(text, inches), fontsize="medium")


def _wrapped(text: str, inches: float) -> str:
    from matplotlib import rcParams

    letters = int(inches * 72 / (0.55 * rcParams["font.size"]))
    return textwrap.fill(text, max(letters, 12))
