"""The guidance plot and the map: what is drawn, and theory's line from SFT's curve alone."""

import numpy as np
import pytest
from made_up import BASE, results_of

from sweeps import tables
from sweeps.ablations import ABLATIONS
from sweeps.mechanism_ablations import GUIDANCE, METHODS, at, best
from sweeps.report import guidance_plots, sheet
from sweeps.schema import cells


def curve(guidance):
    """Highest at guidance 2, quadratic in its logarithm: f(g (1 + s)) = f(g) at 2 / sqrt(1 + s)."""
    return 0.5 - 0.1 * np.log(guidance / 2) ** 2


def built(name):
    """PC follows the curve at guidance g (1 + s) for a training of gain s."""
    table, found = ABLATIONS[name], results_of(ABLATIONS[name])
    for cell in cells(table, BASE, (0, 1, 2)):
        loss, guidance = cell.config.loss, cell.config.sample.guidance
        weight = (loss.lambda_rand + loss.lambda_hard) * bool(cell.config.train.steps)
        s = weight / (1 - weight + loss.lambda_anc)
        noise = 0.001 * np.random.default_rng(cell.config.seed).random(12)
        pc = curve(guidance * (1 + s)) + noise
        found[cell.id]["scores"] |= {"PC": pc.tolist(), "AVG": pc.tolist()}
    return tables.build(table, cells(table, BASE, (0, 1, 2)), found)


@pytest.mark.slow
def test_every_method_is_a_line_with_its_choice_marked():
    table = built("guidance")
    svg = sheet.svg(table, guidance_plots.lines)
    assert all(f">{method}</text>" in svg for method in METHODS)
    found = {line.row.label: line for line in table.lines}
    assert found[best("SFT")].chosen == at(2, "SFT")
    assert svg == sheet.svg(table, guidance_plots.lines), "the same bytes"


@pytest.mark.slow
def test_the_map_has_every_difference_and_theorys_line():
    table = built("map")
    svg = sheet.svg(table, guidance_plots.heatmap)
    assert "SFT at its best (2)" in svg and svg.count(">+0.0</text>") >= len(GUIDANCE)
    found = {line.row.label: line for line in table.lines}
    d = found[at(5, "10 x the weights")].values["PC"].difference
    assert f">{100 * d.mean:+.1f}</text>" in svg and d.mean < 0
    zeros = dict(guidance_plots.predicted_zero(table))
    assert set(zeros) == {1, 2, 3, 4}
    for row, weight in ((1, 0.025), (2, 0.05), (3, 0.1), (4, 0.25)):
        s = weight / (1.2 - weight)
        assert zeros[row] == pytest.approx(2 / np.sqrt(1 + s), rel=0.03), "interpolated"


def test_without_results_nothing_is_predicted():
    table = ABLATIONS["map"]
    empty = tables.build(table, cells(table, BASE, (0,)), {})
    assert guidance_plots.predicted_zero(empty) == []
    assert "not chosen" in sheet.svg(empty, guidance_plots.heatmap)
