"""The study that the dashboard shows: every ended cell once, built from the folders alone."""

import errno
import time
from dataclasses import replace

import optuna
import pytest
from optuna.artifacts import get_all_artifact_meta
from optuna.trial import TrialState
from queued import CELLS, STAGES, TABLE, drain

from direct.common.errors import Diverged
from direct.common.files import write_json
from direct.profiles import profile
from direct.settings import override
from sweeps.queue import dashboard, storage, waiting
from sweeps.queue.sweep import Sweep, Workers
from sweeps.schema import Row, cells

BASE = override(profile("tiny"), "evaluate.prompts=4")


def study_of(root, planned=CELLS, table=TABLE):
    study = storage.open_study(root, "s")
    dashboard.add(study, table, planned, root)
    return study


def test_parameters_and_scores_of_every_cell_that_has_ended_once(tmp_path):
    waiting.plan(tmp_path, "s", CELLS)
    assert study_of(tmp_path).trials == [], "nothing has ended"
    drain(tmp_path)
    study_of(tmp_path)
    study = study_of(tmp_path)
    for cell, trial in zip(CELLS, study.trials, strict=True):
        assert trial.state == TrialState.COMPLETE and trial.value == 0.25
        shown = trial.user_attrs
        assert (shown["cell"], shown["row"], shown["SA"]) == (cell.id, cell.row, 0.5)
        assert trial.params["loss.lambda_hard"] == cell.config.loss.lambda_hard
        assert trial.params["seed"] == shown["seed"] == cell.config.seed


def test_the_last_clips_that_training_left_are_with_their_trial(tmp_path):
    waiting.plan(tmp_path, "s", CELLS[:2])
    samples = tmp_path / CELLS[0].id / "samples"
    samples.mkdir(parents=True)
    for name in ("4-1", "4-2", "8-1", "8-2"):
        (samples / f"step-0000000{name}.mp4").write_bytes(name.encode())
    drain(tmp_path)
    study = study_of(tmp_path, CELLS[:2])
    shown = [
        {
            meta.filename: (tmp_path / dashboard.ARTIFACTS / meta.artifact_id).read_bytes()
            for meta in get_all_artifact_meta(trial, storage=study._storage)
        }
        for trial in study.trials
    ]
    assert shown == [{"step-00000008-1.mp4": b"8-1", "step-00000008-2.mp4": b"8-2"}, {}]
    assert [(t.state.name, t.value) for t in study.trials] == [("COMPLETE", 0.25)] * 2
    assert len(study_of(tmp_path, CELLS[:2]).trials) == 2


def test_a_trial_that_a_kill_left_running_is_ended_and_its_cell_added(tmp_path):
    waiting.plan(tmp_path, "s", CELLS[:1])
    drain(tmp_path)
    storage.open_study(tmp_path, "s").ask()
    assert [t.state.name for t in study_of(tmp_path, CELLS[:1]).trials] == ["FAIL", "COMPLETE"]


def test_a_lost_journal_is_rebuilt_from_the_results(tmp_path):
    waiting.plan(tmp_path, "s", CELLS)
    drain(tmp_path)
    before = [(t.params, t.value, t.user_attrs) for t in study_of(tmp_path).trials]
    storage.journal(tmp_path).unlink()
    assert [(t.params, t.value, t.user_attrs) for t in study_of(tmp_path).trials] == before


def test_a_failure_a_divergence_and_what_came_after(tmp_path):
    def diverge(run):
        raise Diverged(3, "loss was nan")

    waiting.plan(tmp_path, "s", CELLS[:2])
    failure = tmp_path / CELLS[0].id / "failure.json"
    write_json(failure, {"reason": "no clip"})
    assert drain(tmp_path, train=diverge) == [CELLS[1].id]
    study = study_of(tmp_path, CELLS[:2])
    assert [t.state.name for t in study.trials] == ["FAIL", "PRUNED"]
    reasons = [t.user_attrs["reason"] for t in study.trials]
    assert reasons == ["no clip", "diverged at step 3: loss was nan"]
    failure.unlink()
    drain(tmp_path)
    study = study_of(tmp_path, CELLS[:2])
    assert [t.state.name for t in study.trials] == ["FAIL", "PRUNED", "COMPLETE"]


def test_a_negative_setting_is_shown_without_a_warning(tmp_path, recwarn):
    """Delta-FM's correction is a negative gain."""
    table = replace(TABLE, rows=(Row("corrected", {"sample.gain": -0.02}),), baseline="corrected")
    planned = cells(table, BASE, (0,))
    waiting.plan(tmp_path, "s", planned)
    drain(tmp_path)
    study = study_of(tmp_path, planned, table)
    assert [t.params["sample.gain"] for t in study.trials] == [-0.02]
    assert not [w for w in recwarn if "out of range" in str(w.message)]


def test_no_sampler_of_optuna_is_ever_asked(tmp_path, monkeypatch):
    def asked(*arguments, **more):
        raise AssertionError("a value was sampled")

    monkeypatch.setattr(optuna.samplers.RandomSampler, "sample_independent", asked)
    waiting.plan(tmp_path, "s", CELLS)
    drain(tmp_path)
    assert len(study_of(tmp_path).trials) == len(CELLS)


def test_the_numbers_that_a_table_varies_and_the_seed_are_its_parameters():
    assert dashboard.parameters(TABLE, CELLS[0]) == {
        "loss.lambda_hard": CELLS[0].config.loss.lambda_hard,
        "seed": 0,
    }
    worded = replace(TABLE, rows=(Row("a", {"macro.sampling": "uniform", "train.steps": 7}),))
    found = dashboard.parameters(worded, cells(worded, BASE, (3,))[0])
    assert found == {"train.steps": 7, "seed": 3}, "a word is no parameter of the dashboard"


def test_a_trials_value_is_mean_pc_or_the_first_metric(tmp_path):
    waiting.plan(tmp_path, "s", CELLS[:1])
    scores = {"mans.cosine": 1.5, "mans.deviation": 2.0}
    drain(tmp_path, judge=lambda run: [{"prompt": "p", "caption": "c", "scores": scores}])
    (trial,) = study_of(tmp_path, CELLS[:1]).trials
    assert trial.value == 1.5


def mirrored(root, said):
    sweep = Sweep(TABLE, CELLS[:2], root, root, Workers(1), STAGES)
    return dashboard.Mirror(sweep, said.append)


def test_what_is_left_is_not_asked_for_and_added_when_it_has_ended(tmp_path):
    waiting.plan(tmp_path, TABLE.name, CELLS[:2])
    own = mirrored(tmp_path, [])
    own.update(CELLS[:2])
    assert own.study is None, "nothing to show: no study is opened"
    drain(tmp_path, sweep=TABLE.name)
    own.update(CELLS[1:2])
    assert [t.user_attrs["cell"] for t in own.study.trials] == [CELLS[0].id]
    own.update()
    assert [t.user_attrs["cell"] for t in own.study.trials] == [c.id for c in CELLS[:2]]


class StorageInternalError(Exception):
    """As Optuna names what a server's silence raises."""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (StorageInternalError("no route"), "the storage does not answer (no route)"),
        (OSError(errno.ENOSPC, "full"), "no space is left for the journal"),
    ],
)
def test_a_study_that_cannot_be_written_is_said_once_and_made_up_for(
    tmp_path, monkeypatch, error, words
):
    waiting.plan(tmp_path, TABLE.name, CELLS[:2])
    drain(tmp_path, sweep=TABLE.name)
    said = []
    own, real = mirrored(tmp_path, said), dashboard.add

    def fails(*arguments):
        raise error

    monkeypatch.setattr(dashboard, "add", fails)
    own.update()
    own.update(last=True)
    assert said == [f"{words}; the dashboard shows these results later"]
    monkeypatch.setattr(dashboard, "add", real)
    own.update()  # not yet: each attempt may wait for as long as the first
    assert own.study.trials == []
    own.update(last=True)
    assert len(own.study.trials) == 2 and len(said) == 1


def test_a_study_that_could_not_be_written_is_tried_again_after_a_while(tmp_path, monkeypatch):
    waiting.plan(tmp_path, TABLE.name, CELLS[:2])
    drain(tmp_path, sweep=TABLE.name)
    own, real = mirrored(tmp_path, []), dashboard.add
    monkeypatch.setattr(dashboard, "add", lambda *arguments: fail())
    own.update()
    monkeypatch.setattr(dashboard, "add", real)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + dashboard.RETRY_SECONDS)
    own.update()
    assert len(own.study.trials) == 2


def fail():
    raise StorageInternalError("no route")


def test_an_error_of_ours_is_no_silence_of_the_storage(tmp_path, monkeypatch):
    waiting.plan(tmp_path, TABLE.name, CELLS[:1])
    drain(tmp_path, sweep=TABLE.name)
    monkeypatch.setattr(dashboard, "add", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        mirrored(tmp_path, []).update()
