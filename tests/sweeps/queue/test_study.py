"""The queue: nothing twice, nothing lost, whatever was killed."""

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import optuna
import pytest
from optuna.artifacts import get_all_artifact_meta
from optuna.trial import TrialState
from queued import CELLS, STAGES, TABLE, drain, states

from direct.common.errors import Diverged, UserError
from direct.config import Run
from direct.profiles import profile
from direct.settings import override
from sweeps import cell as cell_module
from sweeps.queue import leases, storage
from sweeps.queue import study as queue
from sweeps.schema import Row, cells

BASE = override(profile("tiny"), "evaluate.prompts=4")
CLAIM_SECONDS = queue.CLAIM_SECONDS  # before `fast`


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(queue, "CLAIM_SECONDS", 0.0)


def test_planning_twice_enqueues_once(tmp_path):
    study = storage.open_study(tmp_path, "s")
    queue.plan(study, TABLE, CELLS, tmp_path)
    queue.plan(storage.open_study(tmp_path, "s"), TABLE, CELLS, tmp_path)
    assert states(study) == {cell.id: ["WAITING"] for cell in CELLS}


def test_the_dashboard_has_parameters_and_scores(tmp_path):
    study = storage.open_study(tmp_path, "s")
    queue.plan(study, TABLE, CELLS, tmp_path)
    assert sorted(drain(study, tmp_path)) == sorted(cell.id for cell in CELLS)
    for cell, trial in zip(CELLS, study.trials, strict=True):
        assert trial.state == TrialState.COMPLETE and trial.value == 0.25
        assert trial.user_attrs["SA"] == 0.5 and trial.user_attrs["row"] == cell.row
        assert trial.params["loss.lambda_hard"] == cell.config.loss.lambda_hard
        assert trial.params["seed"] == trial.user_attrs["seed"] == cell.config.seed


def test_the_dashboard_has_the_last_clips_that_training_left(tmp_path):
    study = storage.open_study(tmp_path, "s")
    queue.plan(study, TABLE, CELLS[:2], tmp_path)
    for names in (["4-1.mp4", "4-2.mp4", "8-1.mp4", "8-2.mp4"], []):
        trial = queue.claim(study)
        run = tmp_path / trial.user_attrs["cell"]
        (run / "samples").mkdir()
        for name in names:
            (run / "samples" / f"step-0000000{name}").write_bytes(name.encode())
        queue.attach(trial, run)
        found = get_all_artifact_meta(trial)
        assert sorted(x.filename for x in found) == [f"step-0000000{n}" for n in names[2:]]
        for meta in found:
            assert meta.mimetype == "video/mp4"
            stored = (tmp_path / queue.ARTIFACTS / meta.artifact_id).read_bytes()
            assert f"step-0000000{stored.decode()}" == meta.filename
    assert (tmp_path / queue.ARTIFACTS).is_dir()


def test_a_lost_journal_is_rebuilt_from_the_results(tmp_path):
    study = storage.open_study(tmp_path, "s")
    queue.plan(study, TABLE, CELLS, tmp_path)
    drain(study, tmp_path)
    before = [(t.params, t.value, t.user_attrs["cell"]) for t in study.trials]
    storage.journal(tmp_path).unlink()
    again = storage.open_study(tmp_path, "s")
    queue.plan(again, TABLE, CELLS, tmp_path)
    assert [(t.params, t.value, t.user_attrs["cell"]) for t in again.trials] == before
    assert drain(again, tmp_path) == []


@pytest.mark.slow
def test_a_negative_setting_is_queued_and_rebuilt_without_a_warning(tmp_path, recwarn):
    """Delta-FM's correction is a negative gain."""
    table = replace(TABLE, rows=(Row("corrected", {"sample.gain": -0.02}),), baseline="corrected")
    planned = cells(table, BASE, (0,))
    for _ in range(2):
        study = storage.open_study(tmp_path, "s")
        queue.plan(study, table, planned, tmp_path)
        drain(study, tmp_path)
        assert [t.params["sample.gain"] for t in study.trials] == [-0.02]
        storage.journal(tmp_path).unlink()
    assert not [w for w in recwarn if "out of range" in str(w.message)]


def test_a_cell_of_a_dead_worker_goes_back_into_the_queue(tmp_path):
    study = storage.open_study(tmp_path, "s")
    queue.plan(study, TABLE, CELLS[:1], tmp_path)
    code = (
        "import sys, time; from pathlib import Path; "
        "from sweeps.queue import leases, storage, study as q; root = Path(sys.argv[1]); "
        "s = storage.open_study(root, 's'); t = q.claim(s); "
        "assert leases.take(root / t.user_attrs['cell']); print('held', flush=True); "
        "time.sleep(60)"
    )
    worker = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert worker.stdout.readline() == b"held\n"
    run = tmp_path / CELLS[0].id
    assert leases.live(run) and leases.take(run) is None
    queue.plan(study, TABLE, CELLS[:1], tmp_path)
    assert states(study) == {CELLS[0].id: ["RUNNING"]}, "a live worker keeps its cell"
    worker.kill()
    worker.wait()
    assert not leases.live(run)
    queue.plan(study, TABLE, CELLS[:1], tmp_path)
    assert states(study) == {CELLS[0].id: ["FAIL", "WAITING"]}
    assert drain(study, tmp_path) == [CELLS[0].id]


def test_killed_between_result_and_trial(tmp_path):
    """The result counts; the trial that never heard of it is closed and replaced."""
    study = storage.open_study(tmp_path, "s")
    queue.plan(study, TABLE, CELLS[:1], tmp_path)
    run = tmp_path / queue.claim(study).user_attrs["cell"]
    cell_module.run_cell(Run(CELLS[0].config, tmp_path, run), STAGES)
    queue.plan(study, TABLE, CELLS[:1], tmp_path)
    assert states(study) == {run.name: ["FAIL", "COMPLETE"]}


def test_a_just_claimed_cell_is_not_taken_away(tmp_path, monkeypatch):
    monkeypatch.setattr(queue, "CLAIM_SECONDS", 60.0)
    study = storage.open_study(tmp_path, "s")
    queue.plan(study, TABLE, CELLS[:1], tmp_path)
    assert queue.claim(study)  # and its lease not yet taken
    queue.plan(study, TABLE, CELLS[:1], tmp_path)
    assert states(study) == {CELLS[0].id: ["RUNNING"]}


def test_a_failed_cell_is_tried_again_and_a_diverged_one_is_not(tmp_path):
    def diverge(run):
        raise Diverged(3, "loss was nan")

    study = storage.open_study(tmp_path, "s")
    queue.plan(study, TABLE, CELLS[:2], tmp_path)
    queue.fail(study, queue.claim(study))
    assert drain(study, tmp_path, train=diverge) == [CELLS[1].id]
    queue.plan(study, TABLE, CELLS[:2], tmp_path)
    assert states(study) == {CELLS[0].id: ["FAIL", "WAITING"], CELLS[1].id: ["PRUNED"]}
    assert study.trials[1].user_attrs["reason"] == "diverged at step 3: loss was nan"


def test_claim_never_samples_a_cell(tmp_path):
    """Two workers see the last waiting trial; the one that loses gets nothing."""
    study = storage.open_study(tmp_path, "s")
    queue.plan(study, TABLE, CELLS[:1], tmp_path)
    late = storage.open_study(tmp_path, "s")
    real = late.get_trials
    late.get_trials = lambda *a, **k: real(*a, **k) or late.__dict__.pop("get_trials") or [1]
    assert queue.claim(study)
    assert queue.claim(late) is None
    assert [t.state.name for t in study.trials] == ["RUNNING", "FAIL"]


@pytest.mark.parametrize(
    "attributes",
    [
        {"cell": "../../x", "parameters": {}, "attempt": 0},
        {"cell": 5, "parameters": {}, "attempt": 0},
        {"cell": "0" * 12, "parameters": {"seed": "0"}, "attempt": 0},
        {"cell": "0" * 12, "parameters": None, "attempt": 0},
        {"cell": "0" * 12, "parameters": {}},
    ],
)
def test_a_trial_of_somebody_elses_is_not_worked_on(tmp_path, attributes):
    study = storage.open_study(tmp_path, "s")
    study.enqueue_trial({}, attributes)
    assert queue.claim(study) is None
    assert [trial.state for trial in study.trials] == [TrialState.FAIL]


def test_two_planners_at_once_are_refused(tmp_path):
    with (
        queue.planner(tmp_path),
        pytest.raises(UserError, match="another sweep"),
        queue.planner(tmp_path),
    ):
        pass
    with queue.planner(tmp_path):
        pass


def test_no_sampler_of_optuna_is_ever_asked(tmp_path, monkeypatch):
    def asked(*arguments, **more):
        raise AssertionError("a value was sampled")

    monkeypatch.setattr(optuna.samplers.RandomSampler, "sample_independent", asked)
    study = storage.open_study(tmp_path, "s")
    queue.plan(study, TABLE, CELLS, tmp_path)
    assert len(drain(study, tmp_path)) == len(CELLS)


@pytest.mark.parametrize(("seconds", "recent"), [(0, True), (-3600, False), (3600, False)])
def test_a_claim_is_recent_only_by_a_plausible_age(seconds, recent, monkeypatch):
    monkeypatch.setattr(queue, "CLAIM_SECONDS", CLAIM_SECONDS)
    started = datetime.now(UTC) - timedelta(seconds=seconds)
    trial = optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING)
    trial.datetime_start = started
    assert queue._just_claimed(trial) is recent


def test_a_value_added_to_a_grid_is_all_that_is_new(tmp_path):
    study = storage.open_study(tmp_path, "s")
    queue.plan(study, TABLE, cells(TABLE, BASE, (0,)), tmp_path)
    before = [trial.user_attrs["cell"] for trial in study.trials]
    more = replace(TABLE, rows=(Row("0.01", {"loss.lambda_hard": 0.01}), *TABLE.rows))
    queue.plan(study, more, cells(more, BASE, (0,)), tmp_path)
    added = [trial.user_attrs for trial in study.trials[len(before) :]]
    assert [attributes["row"] for attributes in added] == ["0.01"]
    fewer = replace(TABLE, rows=TABLE.rows[1:])
    queue.plan(study, fewer, cells(fewer, BASE, (0,)), tmp_path)
    assert len(study.trials) == len(before) + 1, "one less: nothing to do"


def test_the_numbers_that_a_table_varies_and_the_seed_are_its_parameters():
    assert queue.parameters(TABLE, CELLS[0]) == {
        "loss.lambda_hard": CELLS[0].config.loss.lambda_hard,
        "seed": 0,
    }
    worded = replace(TABLE, rows=(Row("a", {"macro.sampling": "uniform", "train.steps": 7}),))
    found = queue.parameters(worded, cells(worded, BASE, (3,))[0])
    assert found == {"train.steps": 7, "seed": 3}, "a word is no parameter of the dashboard"


@pytest.mark.parametrize(
    ("result", "state", "value"),
    [
        ({"status": "done", "scores": {"SA": [0.0], "PC": [0.25, 0.75]}}, "COMPLETE", 0.5),
        ({"status": "done", "scores": {"mans.cosine": [1.0, 2.0]}}, "COMPLETE", 1.5),
        ({"status": "diverged", "scores": {}, "reason": "at step 3"}, "PRUNED", None),
    ],
)
def test_a_trials_value_is_mean_pc_or_the_first_metric(result, state, value):
    outcome = queue._outcome(result)
    assert outcome["state"].name == state and outcome.get("value") == value
    assert queue._summary(result).get("reason") == result.get("reason")
