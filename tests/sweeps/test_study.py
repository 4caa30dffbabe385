"""The queue: nothing twice, nothing lost, whatever was killed."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import fake
import optuna
import pytest
from optuna.trial import TrialState

from direct.common.errors import Diverged, UserError
from direct.config import Run
from direct.profiles import profile
from direct.settings import override
from sweeps import cell as cell_module
from sweeps.ablations import ABLATIONS
from sweeps.queue import leases, storage
from sweeps.queue import study as queue
from sweeps.schema import cells

TABLE = ABLATIONS["lambda_hard"]
CELLS = cells(TABLE, override(profile("tiny"), "evaluate.prompts=2"), (0, 1))


STAGES = replace(
    fake.STAGES,
    train=lambda run: None,
    judge=lambda run: [{"prompt": "p0", "caption": "a ball", "scores": {"SA": 0.5, "PC": 0.25}}],
)


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(queue, "CLAIM_SECONDS", 0.0)


def states(study):
    found = {}
    for trial in study.get_trials(deepcopy=False):
        found.setdefault(trial.user_attrs["cell"], []).append(trial.state.name)
    return found


def drain(study, root, **stages):
    done = []
    while trial := queue.claim(study):
        run = root / trial.user_attrs["cell"]
        token = leases.take(run)
        own = replace(STAGES, **stages)
        result = cell_module.run_cell(Run(cell_module.read_config(run), root, run), own)
        queue.finish(study, trial, result)
        leases.drop(run, token)
        done.append(run.name)
    return done


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
        assert trial.params["seed"] == cell.config.seed


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


def test_a_cell_of_a_dead_worker_goes_back_into_the_queue(tmp_path):
    study = storage.open_study(tmp_path, "s")
    queue.plan(study, TABLE, CELLS[:1], tmp_path)
    code = (
        "import sys, time; from pathlib import Path; "
        "from sweeps import leases, storage, study as q; root = Path(sys.argv[1]); "
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


def test_a_torn_line_is_cut_off_and_work_goes_on(tmp_path):
    study = storage.open_study(tmp_path, "s")
    queue.plan(study, TABLE, CELLS, tmp_path)
    path = storage.journal(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code": 4, "worker')
    assert "torn line" in storage.repair(path)
    assert path.read_bytes() == whole
    assert len(drain(storage.open_study(tmp_path, "s"), tmp_path)) == len(CELLS)
    assert storage.repair(path) is None


def test_an_unreadable_journal_is_set_aside(tmp_path):
    path = storage.journal(tmp_path)
    path.write_bytes(b'{"op_code": 0}\nnot json\n{"op_code": 1}\n')
    assert "damaged" in storage.repair(path)
    assert not path.exists() and path.with_name("study.journal.damaged").exists()


def test_a_stale_journal_lock_is_removed_and_said(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "LOCK_GRACE_SECONDS", 3600)  # waiting for it would hang the test
    study = storage.open_study(tmp_path, "s")
    lock = tmp_path / "study.journal.lock"
    lock.touch()
    assert "left by a killed process" in storage.repair(storage.journal(tmp_path))
    assert not lock.exists()
    queue.plan(study, TABLE, CELLS[:1], tmp_path)


def test_two_planners_at_once_are_refused(tmp_path):
    with (
        queue.planner(tmp_path),
        pytest.raises(UserError, match="another sweep"),
        queue.planner(tmp_path),
    ):
        pass
    with queue.planner(tmp_path):
        pass


def test_a_lease_of_a_reused_process_number_is_stale(tmp_path):
    token = leases.take(tmp_path)
    assert leases.holds(tmp_path, token) and leases.live(tmp_path)
    lease = tmp_path / "lease.json"
    owner = json.loads(lease.read_text())
    lease.write_text(json.dumps(owner | {"started": "1"}))
    assert not leases.live(tmp_path)


def test_a_lease_of_another_host_ages(tmp_path):
    lease = tmp_path / "lease.json"
    lease.write_text(json.dumps({"host": "elsewhere", "pid": 1, "started": "1", "token": "t"}))
    assert leases.live(tmp_path)
    old = time.time() - 2 * leases.LEASE_SECONDS
    os.utime(lease, (old, old))
    assert not leases.live(tmp_path)


def test_no_sampler_of_optuna_is_ever_asked(tmp_path, monkeypatch):
    def asked(*arguments, **more):
        raise AssertionError("a value was sampled")

    monkeypatch.setattr(optuna.samplers.RandomSampler, "sample_independent", asked)
    study = storage.open_study(tmp_path, "s")
    queue.plan(study, TABLE, CELLS, tmp_path)
    assert len(drain(study, tmp_path)) == len(CELLS)


def test_a_worker_whose_planner_is_gone_ends_and_fails_no_cell(tmp_path):
    code = (
        "from sweeps import worker\n"
        "try: worker.send(event='progress')\nexcept Exception: print('raised', flush=True)"
    )
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert ended.returncode == 1 and ended.stderr == b""
