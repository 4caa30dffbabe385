"""The heatmap of a grid of two settings: every cell's number, and which are decided."""

from functools import partial

import pytest
from made_up import BASE, results_of

from direct.settings import override
from sweeps import tables
from sweeps.grid import table_of
from sweeps.own_tables import checked
from sweeps.report import heatmap, sheet
from sweeps.schema import cells
from sweeps.stats import Estimate

GRID = ["loss.lambda_hard=0.02,0.3", "sample.guidance=1,3,5"]


def built(missing=()):
    """PC rises with lambda_hard alone (`results_of`), by 0.28 from 0.02 to 0.3."""
    table = checked(table_of(GRID, override(BASE, "sample.guidance=3")), BASE, "--grid")
    found = results_of(table)
    for cell in cells(table, BASE, (0, 1, 2)):
        if cell.row in missing:
            del found[cell.id]
    return tables.build(table, cells(table, BASE, (0, 1, 2)), found)


def patches(table, **more):
    """The drawing's parts, as matplotlib holds them."""
    from matplotlib.figure import Figure

    figure = Figure()
    heatmap.draw(table, figure, **more)
    (ax,) = figure.axes
    return ax, ax.patches, [text.get_text() for text in ax.texts]


@pytest.mark.slow
def test_every_combination_is_a_cell_with_its_difference():
    table = built(missing=["0.3, 5"])
    ax, squares, texts = patches(table, metric="PC")
    lines = {line.row.label: line for line in table.lines}
    told = dict(zip([p.get_xy() for p in squares[:-1]], texts, strict=True))
    for label, (x, y) in {"0.02, 1": (0, 0), "0.02, 5": (2, 0), "0.3, 3": (1, 1)}.items():
        d = lines[label].values["PC"].difference
        assert told[x - 0.5, y - 0.5] == f"{100 * d.mean:+z.2f}"
        hatched = [p.get_hatch() for p in squares if p.get_xy() == (x - 0.5, y - 0.5)]
        assert hatched == ["//" if heatmap.undecided(d) else None]
    assert told[1.5, 0.5] == "–", "no result"
    assert float(told[0.5, 0.5]) == pytest.approx(28, abs=1)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "3", "5"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["0.02", "0.3"]
    assert ax.get_xlabel() == "sample.guidance" and ax.get_ylabel() == "loss.lambda_hard"
    assert squares[-1].get_xy() == pytest.approx((0.52, -0.48)), "the baseline is 0.02, 3"
    assert told[0.5, -0.5] == "+0.00" and squares[-1].get_fill() is False
    assert ax.get_title().replace("\n", " ") == "PC minus 0.02, 3: world judge, tiny"


def test_the_first_metric_of_the_table_is_drawn_unless_one_is_chosen():
    table = built()
    for more, metric in (({}, "SA"), ({"metric": "PC"}, "PC")):
        drawn = sheet.svg(table, partial(heatmap.draw, **more))
        assert f">{metric} minus 0.02, 3:" in drawn
    assert ">Hatched: undecided," in drawn


@pytest.mark.parametrize(
    ("low", "high", "se", "expected"),
    [(-1, 2, 0.5, True), (0, 2, 0.5, True), (0.1, 2, 0.5, False), (-2, -0.1, 0.5, False)],
)
def test_a_cell_is_undecided_where_its_interval_holds_zero(low, high, se, expected):
    d = Estimate((low + high) / 2, low, high, se, 0.5, 3, 12)
    assert heatmap.undecided(d) == expected
