"""Old results: never shown as new, never mixed, and never lost without being asked."""

import json
import os
import shutil
import signal
from dataclasses import asdict, replace

import programs
import pytest
from programs import executed, stamps
from queued import CELLS, STAGES, TABLE

from direct.common.errors import UserError
from direct.common.files import write_json
from direct.config import Run
from sweeps import work as work_module
from sweeps.cell import read_result, run_cell, write_config
from sweeps.queue import pool, storage, waiting
from sweeps.queue.sweep import Sweep, Workers
from sweeps.work import _where_time_went, refuse, settle_old


def sweep(out, *arguments, **more):
    return programs.sweep(out, "--seeds", "0", *arguments, **more)


@pytest.fixture
def old(tmp_path):
    assert sweep(tmp_path, FAKE_CODE="old").returncode == 0
    assert len(executed(tmp_path)) == 4
    return tmp_path


def bytes_of(out):
    return {path: path.read_bytes() for path in sorted(out.glob("runs/tiny/*/result.json"))}


@pytest.mark.slow
def test_results_of_other_code_are_refused_before_anything_runs(old):
    before = bytes_of(old)
    table = (old / "reports/tiny/table_s3.md").read_bytes()
    done = sweep(old, "--seeds", "0,1", FAKE_CODE="new")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "4 of 4 finished cells were made by other code (direct.fake)" in done.stderr
    assert "--accept-old" in done.stderr and "--rerun" in done.stderr
    assert bytes_of(old) == before and len(executed(old)) == 4
    assert (old / "reports/tiny/table_s3.md").read_bytes() == table


@pytest.mark.slow
def test_accepted_old_results_are_used_and_the_table_says_so(old):
    before = bytes_of(old)
    assert "Old results" not in (old / "reports/tiny/table_s3.md").read_text()
    done = sweep(old, "--seeds", "0,1", "--accept-old", FAKE_CODE="new")
    assert done.returncode == 0, done.stderr
    assert "they are used, and the tables say so" in done.stdout
    assert len(executed(old)) == 8 and before.items() <= bytes_of(old).items()
    text = (old / "reports/tiny/table_s3.md").read_text()
    assert "Old results: 4 of 8 cells were made by other code" in text and "direct.fake" in text


@pytest.mark.slow
def test_rerun_makes_old_results_again_and_leaves_new_ones(old):
    assert sweep(old, "--seeds", "0,1", "--accept-old", FAKE_CODE="new").returncode == 0
    new = {path: data for path, data in bytes_of(old).items() if b'"new"' in data}
    done = sweep(old, "--seeds", "0,1", "--rerun", FAKE_CODE="new")
    assert done.returncode == 0 and "they are made again" in done.stdout
    assert len(executed(old)) == 12 and new.items() <= bytes_of(old).items()
    codes = [json.loads(data)["code"] for data in bytes_of(old).values()]
    assert codes == [{"direct.fake": "new"}] * 8
    assert "Old results" not in (old / "reports/tiny/table_s3.md").read_text()
    again = sweep(old, "--seeds", "0,1", "--rerun", FAKE_CODE="new")
    assert again.returncode == 0 and len(executed(old)) == 12, "nothing is old any more"


@pytest.mark.slow
def test_a_result_that_names_no_code_is_old(old):
    from direct.common.files import digest

    path = next(old.glob("runs/tiny/*/result.json"))
    result = json.loads(path.read_text())
    del result["code"], result["checksum"]
    path.write_text(json.dumps(result | {"checksum": digest(result, 64)}))
    done = sweep(old, FAKE_CODE="old")
    assert done.returncode == 2
    assert "1 of 4 finished cells were made by other code (code that was not noted)" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("other", ["--accept-old", "--join"])
def test_answers_that_exclude_each_other_are_refused(tmp_path, other):
    done = sweep(tmp_path, other, "--rerun")
    assert done.returncode == 2 and "mutually exclusive" in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_results_of_another_base_model_are_not_added_to(finished, tmp_path):
    """Rendering them is fine, and so is a folder of one's own; nothing is removed or written."""
    out = tmp_path / "copy"
    shutil.copytree(finished[0], out)
    assert programs.sweep(out, FAKE_WEIGHTS="w1").returncode == 0
    victim = sorted((out / "runs/tiny").glob("*/result.json"))[0]
    victim.unlink()
    before = stamps(out)
    refused = programs.sweep(out, FAKE_WEIGHTS="w1")
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    assert "weights w0, now w1" in refused.stderr and "--out" in refused.stderr
    assert stamps(out) == before
    assert programs.sweep(out).returncode == 0 and victim.exists()


def test_shares_of_a_run_add_up():
    line = _where_time_went(100.0, 10.0, {"train": 100.0, "generate": 60.0, "judge": 0.0}, 2)
    assert "train 50 s (50 %)" in line and "other 10 s (10 %)" in line


def sweep_of(root, **more):
    """The small queue's cells, the first two of them finished by code `fake.STAGES`."""
    for cell in CELLS[:2]:
        write_config(root / cell.id, asdict(cell.config))
        run_cell(Run(cell.config, root, root / cell.id), STAGES)
    stages = replace(STAGES, **more.pop("stages", {}))
    return Sweep(TABLE, CELLS[:4], root, root, Workers(1, **more), stages)


NEWER = {"code": lambda config: {"direct.fake": "newer"}}


def test_settling_asks_first_and_does_as_it_is_told(tmp_path, capsys):
    settle_old(sweep_of(tmp_path))
    assert capsys.readouterr().out == "", "nothing is old"
    with pytest.raises(UserError, match=r"2 of 2 finished cells .* other code \(direct\.fake\): "):
        refuse(sweep_of(tmp_path, stages=NEWER))
    refuse(sweep_of(tmp_path, stages=NEWER, accept_old=True))
    refuse(sweep_of(tmp_path, stages=NEWER | {"inputs": lambda c: {"weights": "w1"}}, rerun=True))
    assert capsys.readouterr().out == "" and all(read_result(tmp_path / c.id) for c in CELLS[:2])
    settle_old(sweep_of(tmp_path, stages=NEWER, accept_old=True))
    assert all(read_result(tmp_path / cell.id) for cell in CELLS[:2])
    settle_old(sweep_of(tmp_path, stages=NEWER, rerun=True))
    assert not any(read_result(tmp_path / cell.id) for cell in CELLS[:2])
    assert all((tmp_path / cell.id / "config.json").exists() for cell in CELLS[:2])
    said = capsys.readouterr().out.splitlines()
    assert [line.split("; ")[1] for line in said] == [
        "they are used, and the tables say so",
        "they are made again",
    ]


def test_of_many_modules_the_most_common_are_named():
    old = {cell: [f"m{k}" for k in range(i + 1)] for i, cell in enumerate(CELLS[:5])}
    assert work_module._differing(old) == "m0, m1, m2 and 2 more modules"
    assert work_module._differing({CELLS[0]: ["m0", "m1", "m2"]}) == "m0, m1, m2"


def test_where_nothing_is_left_to_do_no_device_is_asked_for(tmp_path):
    few = sweep_of(tmp_path, gpus=9)
    with pytest.raises(UserError, match="needs 9 GPUs, and this process may use 8"):
        refuse(few)
    refuse(replace(few, workers=replace(few.workers, launcher="slurm")))
    refuse(replace(few, cells=CELLS[:2]))
    for cell in CELLS[2:4]:
        write_json(tmp_path / cell.id / "failure.json", {"reason": "made to fail"})
    refuse(few)
    with pytest.raises(UserError, match="needs 9 GPUs"):
        refuse(replace(few, workers=replace(few.workers, retry_failed=True)))


def test_other_weights_or_clips_are_refused_and_the_worlds_clips_are_code(tmp_path):
    inputs = {"weights": "w0", "data": "another world"}
    work_module._check_inputs(sweep_of(tmp_path, stages={"inputs": lambda config: inputs}))
    inputs = {"weights": "w1"}
    with pytest.raises(UserError, match=r"different base model \(weights w0, now w1\)"):
        work_module._check_inputs(sweep_of(tmp_path, stages={"inputs": lambda config: inputs}))


def test_what_the_reference_says_is_shared_by_the_cells_that_are_left(tmp_path, monkeypatch):
    """Until each of them has ended: one with a result, the other one failed."""
    from direct.train import reference_cache
    from sweeps.queue import pool

    sweep, listed = sweep_of(tmp_path), []

    def drain(sweep, display, estimator):
        for folder in tmp_path.glob("reference/*"):
            listed.extend(reference_cache.wanted(folder))
        write_config(tmp_path / CELLS[2].id, asdict(CELLS[2].config))
        run_cell(Run(CELLS[2].config, tmp_path, tmp_path / CELLS[2].id), STAGES)
        return {CELLS[3].id: "fault"}

    monkeypatch.setattr(pool, "drain", drain)
    monkeypatch.setattr(work_module.signal, "signal", lambda *_: None)
    monkeypatch.setattr(work_module.preempt, "listen", lambda *_: None)
    assert work_module.work(sweep) == {CELLS[3].id: "fault"}
    assert sorted(listed) == sorted(cell.id for cell in CELLS[2:4])
    assert not any((tmp_path / "reference").iterdir())


@pytest.mark.parametrize("join", [True, False])
def test_a_helper_needs_no_server(tmp_path, monkeypatch, join):
    """A worker that joins while the server restarts goes to work; a planner is refused."""

    def silent(*_):
        raise UserError("the storage does not answer")

    drained = []
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(storage, "open_study", silent)
    monkeypatch.setattr(pool, "drain", lambda *given: drained.append(given) or {})
    monkeypatch.setattr(work_module, "_prepare", lambda *_: 0.0)
    workers = Workers(1, storage="postgresql://me@host/sweeps", join=join)
    own = Sweep(TABLE, CELLS, tmp_path / "runs", tmp_path / "cache", workers, STAGES)
    if join:
        assert work_module.work(own) == {} and len(drained) == 1
    else:
        with pytest.raises(UserError, match="does not answer"):
            work_module.work(own)


def test_where_nothing_is_left_to_do_the_study_is_brought_up_to_date(tmp_path, monkeypatch):
    """As after a SLURM array, which no planner watches, or where the journal was removed."""
    monkeypatch.setattr(work_module.signal, "signal", lambda *_: None)
    monkeypatch.setattr(work_module.preempt, "listen", lambda *_: None)
    done = replace(sweep_of(tmp_path), cells=CELLS[:2])
    with waiting.planner(tmp_path):  # another sweep's: it stays as it is
        assert work_module.work(done) == {} and not storage.journal(tmp_path).exists()
    for _ in range(2):
        assert work_module.work(done) == {}
        trials = storage.open_study(tmp_path, TABLE.name).trials
        assert [trial.user_attrs["cell"] for trial in trials] == [cell.id for cell in CELLS[:2]]
    monkeypatch.setattr(storage, "open_study", lambda *_: pytest.fail("all of it is shown"))
    assert work_module.work(done) == {}
    later = storage.journal(tmp_path).stat().st_mtime + 10
    os.utime(tmp_path / CELLS[0].id / "result.json", (later, later))
    with pytest.raises(pytest.fail.Exception, match="all of it is shown"):
        work_module.work(done)
