"""The results' interface: every score in one long frame."""

import shutil

import pytest
from made_up import BASE, S3

from direct.common.errors import UserError
from direct.common.files import digest, write_json
from direct.identity import named
from sweeps import Ablation, Row, results
from sweeps.cell import SCHEMA
from sweeps.experiments import Experiment, remember
from sweeps.schema import cells


@pytest.mark.slow
def test_the_results_are_one_long_frame(finished):
    frame = results.load("tiny", finished[0])
    columns = ["cell", "seed", "prompt", "metric", "value", "experiment", "table", "row"]
    assert list(frame.columns) == [*columns, "loss.lambda_hard"]
    assert set(frame.experiment) == {"lambda_hard"}
    assert set(frame.row) == {row.label for row in S3.rows}
    assert len(frame) == 8 * 4 * 10  # cells, prompts, metrics
    assert set(frame.seed) == {0, 1} and frame.value.between(0, 10).all()


def test_the_frame_holds_every_score_and_a_diverged_cell_has_none():
    found = {
        "a": {
            "cell": "a",
            "config": {"seed": 4},
            "prompts": ["p0", "p1"],
            "scores": {"PC": [0.25, 0.5], "SA": [0.75, 1.0]},
        },
        "b": {"cell": "b", "config": {"seed": 5}, "prompts": [], "scores": {}},
    }
    assert results.frame(found).to_numpy().tolist() == [
        ["a", 4, "p0", "PC", 0.25],
        ["a", 4, "p1", "PC", 0.5],
        ["a", 4, "p0", "SA", 0.75],
        ["a", 4, "p1", "SA", 1.0],
    ]
    assert results.frame({}).empty and len(results.frame({}).columns) == 5
    found["a"]["prompts"].pop()
    with pytest.raises(ValueError, match="zip"):
        results.frame(found)


def noted(root, name, rows):
    """An experiment of these rows and one seed, with a made-up result of every cell."""
    table = Ablation("own", rows=rows, baseline=rows[0].label)
    planned = cells(table, BASE, (0,))
    remember(Experiment(name, table, tuple(planned), BASE), root)
    for cell in planned:
        result = {
            "schema": SCHEMA,
            "cell": cell.id,
            "config": named(cell.config),
            "status": "done",
            "provenance": {"commit": "abc123"},
            "prompts": ["p"],
            "scores": {"PC": [cell.config.loss.lambda_hard]},
        }
        write_json(root / cell.id / "result.json", result | {"checksum": digest(result, 64)})
    return planned


@pytest.mark.slow
def test_a_score_has_its_experiment_its_row_and_every_setting_that_varies(tmp_path):
    root = results.folder("tiny", tmp_path)
    rows = (Row("none", {"loss.lambda_hard": 0.0}), Row("some", {"loss.lambda_hard": 0.5}))
    axes = Row("one axis", {"micro.axes": ("forces",)})
    noted(root, "a", rows)
    noted(root, "b", (rows[1], axes))
    (alone,) = noted(root, "c", (Row("alone", {"train.steps": 7}),))
    shutil.rmtree(root / "experiments/c")
    frame = results.load("tiny", tmp_path)
    assert list(frame.columns)[5:] == [
        *("experiment", "table", "row"),
        *("loss.lambda_hard", "micro.axes"),
    ]
    shown = sorted(zip(frame.experiment, frame.row, frame.value, strict=True))
    assert shown == [
        ("", "", BASE.loss.lambda_hard),
        ("a", "none", 0.0),
        ("a", "some", 0.5),
        ("b", "one axis", BASE.loss.lambda_hard),
        ("b", "some", 0.5),  # a cell that two experiments share is in both
    ]
    assert frame[frame.experiment == ""].cell.tolist() == [alone.id]
    assert frame[frame.row == "one axis"]["micro.axes"].tolist() == ["forces"]
    one = results.load("tiny", tmp_path, "a")
    assert len(one) == 2 and set(one.experiment) == {"a"} and set(one.row) == {"none", "some"}
    with pytest.raises(UserError, match="aa is not an experiment"):
        results.load("tiny", tmp_path, "aa")


@pytest.mark.slow
def test_without_results_the_columns_are_there(tmp_path):
    frame = results.load("tiny", tmp_path)
    assert frame.empty and {"value", "experiment", "row"} <= set(frame.columns)


def test_only_whole_results_are_read_in_the_order_of_ids(tmp_path, capsys):
    planned = sorted(cells(S3, BASE, (0,)), key=lambda cell: cell.id)
    for cell in reversed(planned):
        result = {
            "schema": SCHEMA,
            "cell": cell.id,
            "config": named(cell.config),
            "status": "done",
            "provenance": {"commit": "abc123"},
            "prompts": ["p"],
            "scores": {"PC": [0.5]},
        }
        write_json(tmp_path / cell.id / "result.json", result | {"checksum": digest(result, 64)})
    (tmp_path / "no_cell").mkdir()
    (tmp_path / "planner.lock").touch()
    first = tmp_path / planned[0].id / "result.json"
    first.write_text(first.read_text().replace("0.5", "0.6"))
    assert list(results.read_all(tmp_path)) == [cell.id for cell in planned[1:]]
    assert str(first) in capsys.readouterr().out and not first.exists()
    assert results.read_all(tmp_path / "nothing") == {}


def test_run_folders_are_below_the_profile(tmp_path):
    assert results.folder("tiny", tmp_path) == tmp_path / "runs" / "tiny"
