"""Seconds per cell, and what is left of a sweep while it runs."""

import time

import pytest
from made_up_readings import BASE

from direct.common.files import write_json
from direct.profiles import profile
from direct.settings import override, with_values
from sweeps.ablations import ABLATIONS
from sweeps.queue.estimate import DEFAULTS, Estimator, _units, default_rates, words
from sweeps.schema import cells


def test_time_left_follows_the_speed_of_this_run(monkeypatch, tmp_path):
    """Twice as slow as the model says: twice the model's time is left."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    planned = cells(ABLATIONS["lambda_hard"], override(profile("tiny"), "train.steps=100"), (0,))
    estimator = Estimator(tmp_path, {cell.id: cell.config for cell in planned})
    cost = estimator.seconds(planned[0].config)
    assert estimator.remaining([planned[0].id], 1) == pytest.approx(cost)
    estimator.progress(planned[0].id, "train", 0, 100)
    clock[0] = 2 * 50 * estimator.rates["train"]
    estimator.progress(planned[0].id, "train", 50, 100)
    left = estimator.remaining([planned[0].id], 1)
    assert left == pytest.approx(2 * (cost - 50 * estimator.rates["train"]))
    estimator.finished(planned[0].id)
    assert estimator.remaining([planned[0].id], 1) == 0


def test_measured_steps_are_several_steps_of_training():
    config = with_values(BASE, {"measure.kind": "alignment", "measure.steps": 10})
    assert _units(config) == {"train": 40, "generate": 0, "judge": 0}
    config = with_values(BASE, {"measure.kind": "cost", "measure.iterations": 10})
    assert _units(config)["train"] == 30


def test_durations_are_words_that_round_once():
    assert [words(x) for x in (3.21, 59, 250, 7500)] == ["3.2 s", "59 s", "4 min 10 s", "2 h 5 min"]
    assert [words(x) for x in (9.97, 59.7, 2879.6, 3599.8)] == [
        "10 s",
        "1 min 0 s",
        "48 min 0 s",
        "1 h 0 min",
    ]


def configs():
    table = ABLATIONS["lambda_hard"]
    base = override(profile("tiny"), "train.steps=100", "evaluate.prompts=10")
    return {cell.id: cell.config for cell in cells(table, base, (0,))}


def test_without_timings_the_stated_defaults_count(tmp_path):
    planned = configs()
    estimator = Estimator(tmp_path, planned)
    assert not estimator.recorded
    per_step, per_clip, per_judgement = DEFAULTS["tiny"]
    expected = 100 * per_step + 10 * per_clip + 10 * per_judgement
    assert estimator.seconds(next(iter(planned.values()))) == pytest.approx(expected)
    assert default_rates("a profile without figures") == DEFAULTS["wan2.1-t2v-1.3b"]


def test_recorded_rates_are_medians_over_finished_cells(tmp_path):
    planned = configs()
    for name, seconds in zip(planned, (100.0, 300.0, 200.0, 9000.0), strict=True):
        write_json(tmp_path / name / "timing.json", {"train": seconds})
        if seconds < 9000:  # the last has not finished: it counts for nothing
            write_json(tmp_path / name / "result.json", {})
    estimator = Estimator(tmp_path, planned)
    assert estimator.recorded and estimator.rates["train"] == 2.0
    assert estimator.rates["judge"] == DEFAULTS["tiny"][2], "not recorded: the default"


def test_workers_divide_the_rest_but_not_a_cell(tmp_path):
    planned = configs()
    estimator = Estimator(tmp_path, planned)
    one = estimator.seconds(next(iter(planned.values())))
    names = list(planned)
    assert estimator.remaining(names, 1) == pytest.approx(4 * one)
    assert estimator.remaining(names, 2) == pytest.approx(2 * one)
    assert estimator.remaining(names, 3) == pytest.approx(4 * one / 3)
    assert estimator.remaining(names, 99) == pytest.approx(one), "no shorter than a cell"
    assert estimator.remaining([], 2) == 0


def test_a_stages_own_preparations_are_shown_and_not_counted(tmp_path):
    planned = configs()
    name = next(iter(planned))
    estimator = Estimator(tmp_path, planned)
    before = estimator.remaining([name], 1)
    estimator.progress(name, "loading", 3, 4)
    estimator.progress(name, "train", 0, 0)
    assert estimator.stages == {name: ("train", 0, 0)} and estimator.remaining([name], 1) == before
