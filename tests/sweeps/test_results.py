"""The results' interface: every score in one long frame."""

import pytest
from made_up import BASE, S3

from direct.common.files import digest, write_json
from direct.identity import named
from sweeps import results
from sweeps.cell import SCHEMA
from sweeps.schema import cells


@pytest.mark.slow
def test_the_results_are_one_long_frame(finished):
    frame = results.load("tiny", finished[0])
    assert list(frame.columns) == ["cell", "seed", "prompt", "metric", "value"]
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


def test_only_whole_results_are_read_in_the_order_of_ids(tmp_path, capsys):
    planned = sorted(cells(S3, BASE, (0,)), key=lambda cell: cell.id)
    for cell in reversed(planned):
        result = {
            "schema": SCHEMA,
            "cell": cell.id,
            "config": named(cell.config),
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
