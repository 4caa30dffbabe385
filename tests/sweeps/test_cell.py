"""One cell: its result appears whole or not at all, and says what it was made from."""

import json
import time
from dataclasses import asdict, replace

import fake
import pytest
from made_up_readings import BASE, S6

from direct.common.errors import Diverged, UserError
from direct.common.files import write_json
from direct.config import Run
from direct.identity import identity
from direct.profiles import profile
from direct.settings import override
from sweeps import cell, results
from sweeps.schema import cells

CONFIG = override(profile("tiny"), "evaluate.prompts=2")


def records(value=0.5):
    return [
        {"prompt": f"p{i}", "caption": "a ball", "scores": {"SA": value, "PC": i / 2}}
        for i in range(2)
    ]


STAGES = replace(
    fake.STAGES,
    train=lambda run: None,
    judge=lambda run: records(),
    inputs=lambda config: {"weights": "abc"},
)


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / identity(CONFIG)
    folder.mkdir()
    return folder


def go(run, holds=lambda: True, **stages):
    here = Run(CONFIG, run.parent, run)
    return cell.run_cell(here, replace(STAGES, **stages), holds)


def test_a_result_is_read_back_and_never_done_again(run):
    result = go(run)
    assert result["scores"] == {"PC": [0.0, 0.5], "SA": [0.5, 0.5]}
    assert result["prompts"] == ["p0", "p1"] and result["status"] == "done"
    assert {"commit", "packages", "device", "weights"} <= set(result["provenance"])
    assert go(run, train=None, judge=None) == result == cell.read_result(run)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e12, None])
def test_a_score_that_no_table_has_room_for_is_refused(run, value):
    said = rf"the judge gave SA={value} for prompt p0; a score must be .*, below 1e\+12"
    with pytest.raises(UserError, match=said):
        go(run, judge=lambda run: records(value))
    assert not (run / "result.json").exists()


def test_the_bytes_of_a_result_do_not_depend_on_when_it_was_made(run):
    go(run)
    first = (run / "result.json").read_bytes()
    (run / "result.json").unlink()
    time.sleep(0.01)
    go(run)
    assert (run / "result.json").read_bytes() == first


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace('"p1"', '"p2"'),  # edited by hand
        lambda text: text.replace("0.5", "0.9"),
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
    ],
)
def test_a_damaged_result_is_set_aside_and_made_anew(run, damage, capsys):
    go(run)
    path = run / "result.json"
    whole = path.read_text()
    path.write_text(damage(whole))
    assert cell.read_result(run) is None
    assert str(path) in capsys.readouterr().out and not path.exists()
    assert path.with_name("result.json.damaged").exists()
    go(run)
    assert path.read_text() == whole


def test_a_result_of_another_cell_is_refused(run):
    go(run)
    other = run.parent / "0123456789ab"
    run.rename(other)
    assert cell.read_result(other) is None


def test_divergence_is_a_result(run):
    def diverge(run):
        raise Diverged(17, "loss was nan 10 times")

    result = go(run, train=diverge)
    assert result["status"] == "diverged" and "step 17" in result["reason"]
    assert cell.read_result(run) == result and result["scores"] == {}


def test_another_error_leaves_no_result(run):
    with pytest.raises(ZeroDivisionError):
        go(run, generate=lambda run: 1 / 0)
    assert cell.read_result(run) is None


def test_a_worker_that_lost_its_lease_publishes_nothing(run):
    assert go(run, holds=lambda: False) is None
    assert cell.read_result(run) is None


def test_a_result_that_came_meanwhile_is_never_replaced(run):
    """Of a worker that was frozen between its last look at the lease and publishing."""

    def holds():
        go(run)  # who took over
        return True

    other = go(run, holds=holds, judge=lambda run: records(0.75))
    assert other is None
    assert cell.read_result(run)["scores"]["SA"] == [0.5, 0.5]
    assert not list(run.glob(".*.tmp"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_refused(run, value):
    with pytest.raises(UserError, match=r"SA=.*p0"):
        go(run, judge=lambda run: records(value))


def test_a_full_disk_leaves_nothing_half_written(run, monkeypatch):
    def full(*arguments, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(UserError, match="no space left"):
        go(run)
    assert [path.name for path in run.iterdir()] == []


@pytest.mark.parametrize(
    "changed",
    [
        {"inputs": lambda config: {"weights": "another"}},
        {"code": lambda config: {"direct.flow": "edited"}},
    ],
)
def test_what_another_base_model_or_other_code_left_is_removed(run, changed, capsys):
    cell.write_config(run, asdict(CONFIG))
    lease = run / "lease.json"
    lease.write_text("{}")
    cell.begin(run, STAGES)

    def left():
        (run / "transformer").mkdir()
        (run / "transformer/weights").write_text("trained")
        (run / "samples.safetensors").write_text("clips")

    left()
    cell.begin(run, STAGES)  # made from the same: the attempt resumes
    assert (run / "transformer/weights").exists() and (run / "samples.safetensors").exists()
    cell.begin(run, replace(STAGES, **changed))
    assert {path.name for path in run.iterdir()} == {"config.json", "inputs.json", "lease.json"}
    assert (
        "another base model or code" in capsys.readouterr().out and cell.read_config(run) == CONFIG
    )
    left()
    cell.begin(run, replace(STAGES, **changed))
    assert (run / "transformer/weights").exists()


def test_config_round_trip_and_a_foreign_one(tmp_path):
    for config in (
        CONFIG,
        override(CONFIG, "micro.axes=forces,material"),
        profile("wan2.1-t2v-1.3b"),
    ):
        run = tmp_path / identity(config)
        cell.write_config(run, asdict(config))
        assert cell.read_config(run) == config
    edited = json.loads((run / "config.json").read_text()) | {"seed": 5}
    (run / "config.json").write_text(json.dumps(edited))
    with pytest.raises(UserError, match="remove the folder"):
        cell.read_config(run)


def test_timings_add_up_over_attempts(tmp_path):
    for _ in range(2):
        with cell.timed(tmp_path, "train"):
            time.sleep(0.02)
    assert cell.read_json(tmp_path / "timing.json")["train"] >= 0.04


def test_what_a_measurement_says_beside_its_scores_is_in_its_result(tmp_path, monkeypatch):
    config = cells(S6, BASE, (0,))[0].config
    run = tmp_path / cells(S6, BASE, (0,))[0].id

    def measure(run):
        write_json(
            run.folder / "details.json",
            {"samples": {"same.a": [[1.0]]}, "provenance": {"step_ratio": {"with_anchor": 2.0}}},
        )
        return [{"prompt": "step 0001", "caption": "", "scores": {"mans.cosine": 0.5}}]

    monkeypatch.setattr(cell, "provenance", lambda config, stages: {"commit": "abc"})
    stages = replace(fake.STAGES, measure=measure)
    result = cell.run_cell(Run(config, tmp_path, run), stages)
    assert result == cell.read_result(run), "whole, its checksum right"
    assert result["samples"] == {"same.a": [[1.0]]}
    assert result["provenance"] == {"commit": "abc", "step_ratio": {"with_anchor": 2.0}}
    assert results.frame({run.name: result}).metric.tolist() == ["mans.cosine"]


def test_modules_that_changed_came_or_went_are_other_code():
    stages = replace(STAGES, code=lambda config: {"a": "1", "b": "2", "c": "3"})
    assert cell.other_code({"code": {"a": "1", "b": "2", "c": "3"}}, CONFIG, stages) == []
    assert cell.other_code({"code": {"a": "0", "b": "2", "d": "4"}}, CONFIG, stages) == [
        "a",
        "c",
        "d",
    ]
    assert cell.other_code({}, CONFIG, stages) == ["code that was not noted"]


@pytest.mark.parametrize("text", [None, "", "{", "[]", "1", "\xff"])
def test_what_is_no_json_object_is_nothing(tmp_path, text):
    path = tmp_path / "a.json"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    assert cell.read_json(path) is None
    path.write_text('{"a": 1}')
    assert cell.read_json(path) == {"a": 1}


def test_clearing_leaves_configuration_lease_and_what_is_hidden(tmp_path):
    for name in ("config.json", "lease.json", ".now.1", "result.json", "failure.json"):
        (tmp_path / name).touch()
    (tmp_path / "checkpoints/1").mkdir(parents=True)
    cell.clear(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "lease.json", ".now.1"}


def test_outside_of_git_the_commit_is_unknown(monkeypatch):
    def absent(*arguments, **more):
        raise FileNotFoundError("git")

    monkeypatch.setattr(cell.subprocess, "run", absent)
    assert cell.commit.__wrapped__() == "unknown"


def test_a_failure_is_one_whatever_its_file_says(tmp_path):
    """A file that is there ends the cell: whoever takes it for none would wait for ever."""
    assert cell.failure_of(tmp_path) is None
    write_json(tmp_path / "failure.json", {"reason": "no clip"})
    assert cell.failure_of(tmp_path) == "no clip"
    for text in ("", "{", "[]", "{}", '{"reason": 1}', "\x00"):
        (tmp_path / "failure.json").write_text(text)
        assert cell.failure_of(tmp_path) == "its failure.json is damaged"


def test_seconds_that_are_none_are_left_out(tmp_path):
    path = tmp_path / "timing.json"
    path.write_text('{"train": 1.5, "judge": 1e300, "a": -1, "b": true, "c": "1", "d": NaN}')
    assert cell.read_timing(path) == {"train": 1.5}
