"""The plot of learnt gains: a panel a table, a curve a training, over the noise levels."""

from made_up import BASE

from sweeps import tables
from sweeps.ablations import ABLATIONS
from sweeps.report import gain_plot, layout, sheet
from sweeps.schema import cells

TABLE = ABLATIONS["gain"]
LEVELS = (0.2, 0.5, 0.8, 0.95)


def results(seeds=(0,)):
    found = {}
    for cell in cells(TABLE, BASE, seeds):
        loss = cell.config.loss
        weight = loss.lambda_rand + loss.lambda_hard
        predicted = weight / (1 - weight + loss.lambda_anc)
        share = [0.8, 0.85, 0.9, 0.95]
        scores = {m: [0.5] * 4 for m in ("r2", "apart", "pool_s", "pool_r2")}
        scores |= {"predicted": [predicted] * 4, "share": share}
        scores["s"] = [predicted * x for x in share]
        found[cell.id] = {
            "cell": cell.id,
            "config": {"seed": cell.config.seed},
            "status": "done",
            "prompts": [f"t {t:.2f}" for t in LEVELS],
            "scores": scores,
            "provenance": {"commit": "abc123", "device": "a processor"},
        }
    return found


def test_every_table_is_a_panel_and_every_training_a_curve():
    table = tables.build(TABLE, cells(TABLE, BASE, (0,)), results())
    svg = sheet.svg(table, gain_plot.draw)
    assert table.units == ("t 0.20", "t 0.50", "t 0.80", "t 0.95")
    for line in table.lines:
        group, _, label = line.row.label.partition(": ")
        assert f">{group}</text>" in svg and f">{label}</text>" in svg
    (scores,) = layout.blocks(table)  # nothing is taken from anything
    assert len(scores.rows) == len(table.lines)


def test_tables_show_what_their_trainings_have_learnt():
    s3 = ABLATIONS["lambda_hard"]
    table = tables.build(s3, cells(s3, BASE, (0, 1)), results())
    lines = {line.row.label: line for line in table.lines}
    gain = lines["0.1"].gain
    assert abs(gain.predicted - 0.105 / 1.095) < 1e-12
    assert abs(gain.learnt - 0.875 * gain.predicted) < 1e-12
    scores, *_ = layout.blocks(table)
    column = [title for _, title in scores.columns].index("gain learnt (predicted)")
    assert scores.rows[2][column].text == "0.0839 (0.0959)"
    bare = tables.build(s3, cells(s3, BASE, (0, 1)), {})
    assert all(line.gain is None for line in bare.lines)


def test_a_reading_has_learnt_nothing():
    """Its rows are one training's measurements: SFT's among them, which has no negatives."""
    s4 = ABLATIONS["cost"]
    table = tables.build(s4, cells(s4, BASE, (0,)), results())
    assert all(line.gain is None for line in table.lines)
