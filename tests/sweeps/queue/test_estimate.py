"""Seconds per cell, and what is left of a sweep while it runs."""

import time

import pytest
from made_up_readings import BASE

from direct.profiles import profile
from direct.settings import override, with_values
from sweeps.ablations import ABLATIONS
from sweeps.queue.estimate import Estimator, _units, words
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
