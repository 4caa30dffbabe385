"""Workers of a sweep: who is killed is replaced; a sweep that is joined is the planned one."""

import json
import subprocess
import time

import pytest
from programs import FAKE, begun, children, environment, sweep, tables, until
from queued import CELLS, STAGES, TABLE

from direct.common.errors import UserError
from direct.common.files import write_json
from sweeps import run
from sweeps.queue import leases, pool, waiting
from sweeps.queue.display import Display
from sweeps.queue.estimate import Estimator
from sweeps.queue.sweep import EACH, Ended, Sweep, Workers

PLAN = ["lambda_hard", "--prompts", "4", "--seeds", "0", "--launcher", "slurm"]


def test_joining_another_sweep_than_the_planned_one_is_refused(tmp_path):
    """`all` is a queue of its own: who joins a table of it would wait for nothing, and say done."""
    assert run.main([*PLAN, "--out", str(tmp_path)]) == 0
    with pytest.raises(UserError, match="clusters is not planned"):
        run.main(["clusters", "--prompts", "4", "--join", "--out", str(tmp_path)])
    with pytest.raises(UserError, match="mutually exclusive"):
        run.main(["lambda_hard", "--join", "--retry-failed", "--out", str(tmp_path)])


def test_joining_what_nobody_planned_is_refused(tmp_path):
    with pytest.raises(UserError, match="run it once without --join"):
        run.main(["lambda_hard", "--prompts", "4", "--join", "--out", str(tmp_path)])


@pytest.mark.slow
def test_a_planner_that_waits_for_a_helper_starts_no_workers_for_nothing(tmp_path):
    """The last cell is a helper's: workers that find no cell end, and none takes their place."""
    log, own, helpers = (tmp_path / name for name in ("workers", "own", "helpers"))
    arguments = ["--out", str(tmp_path), "--seeds", "0", "--prompts", "4", "--workers", "1"]
    planner = subprocess.Popen(
        [*FAKE, *arguments],
        stdout=subprocess.DEVNULL,
        env=environment(FAKE_GATE=str(own), FAKE_WORKERS=str(log)),
    )
    until(lambda: begun(tmp_path) == 1, "the planner's worker has a cell", planner)
    helper = subprocess.Popen(
        [*FAKE, *arguments, "--join"],
        env=environment(FAKE_GATE=str(helpers)),
        stdout=subprocess.DEVNULL,
    )
    until(lambda: begun(tmp_path) == 2, "the helper's has one", planner, helper)
    own.write_text("4")
    until(lambda: not children(planner), "all others are done", planner, helper)
    assert begun(tmp_path) == 4
    end = time.monotonic() + 2
    while time.monotonic() < end:
        assert not children(planner)
        time.sleep(0.1)
    helpers.write_text("4")
    assert planner.wait(300) == 0 and helper.wait(300) == 0
    assert len(log.read_text().split()) <= 2


@pytest.mark.slow
def test_a_worker_that_is_killed_every_time_fails_its_cells_and_no_others(tmp_path):
    done = sweep(tmp_path, "--seeds", "0", FAKE_KILL="0.1")
    assert done.returncode == 1
    assert done.stdout.count("ended with status -9, another takes over") == pool.ATTEMPTS
    assert "its worker ended 3 times" in done.stdout
    assert b"Incomplete: 1 of 4 cells" in tables(tmp_path)["table_s3.md"]
    again = sweep(tmp_path, "--seeds", "0")  # whoever killed it may be gone: tried anew
    assert again.returncode == 0 and "1 of 4 cells to do" in again.stdout


class Silent:
    """A launcher whose workers do nothing."""

    def __init__(self):
        self.started = 0

    def start(self):
        self.started += 1
        return self.started

    def hear(self, seconds):
        return []

    def stop(self, seconds):
        self.seconds = seconds


def pool_of(tmp_path, cells=CELLS[:2], count=2):
    """A pool of silent workers, and the display and estimator it tells."""
    sweep = Sweep(TABLE, list(cells), tmp_path, tmp_path, Workers(count), STAGES)
    estimator = Estimator(tmp_path, {cell.id: cell.config for cell in cells})
    return pool._Pool(sweep, Display(), estimator, Silent())


def test_only_cells_whose_end_was_told_are_looked_at_in_between(tmp_path, monkeypatch):
    own, looked = pool_of(tmp_path, CELLS[:3]), []
    for cell in CELLS[:2]:
        write_json(tmp_path / cell.id / "failure.json", {"reason": "no clip"})
    real = own.ended
    monkeypatch.setattr(own, "ended", lambda name: looked.append(name) or real(name))
    assert own.open(CELLS[:3], {CELLS[1].id}) == [CELLS[0], CELLS[2]]
    assert looked == [CELLS[1].id]
    assert own.open(CELLS[:3]) == [CELLS[2]]


def message(**values):
    return pool.MARK + json.dumps(values)


def test_what_workers_send_reaches_the_estimate_and_what_they_print_the_person(tmp_path, capsys):
    own = pool_of(tmp_path)
    name = CELLS[0].id
    assert own._take(1, message(event="start", cell=name, first=True)) is False
    assert own.working == {1: name}
    assert (
        own._take(1, message(event="progress", cell=name, stage="train", done=1, total=2)) is False
    )
    assert own.watch.estimator.stages == {name: ("train", 1, 2)}
    assert own._take(1, "a warning of torch") is False
    assert own._take(1, message(event="say", text="taken over")) is False
    assert capsys.readouterr().out.splitlines() == ["a warning of torch", "taken over"]
    assert own._take(1, message(event="done", cell=name, status="done")) is True
    assert own.working == {} and own.watch.estimator.ended == {name}
    assert own._take(1, Ended("")) is True


def die(own, worker, cell, status=-9, lost=False):
    own.alive.add(worker)
    if cell:
        own.working[worker] = cell
    return own._take(worker, Ended(f"with status {status}" if status else "", lost))


@pytest.mark.parametrize(("count", "expected"), [(2, 2), (EACH, 3)])
def test_there_is_a_worker_for_each_cell_that_waits_as_far_as_there_may_be(
    tmp_path, count, expected
):
    cells = CELLS[:5]
    own = pool_of(tmp_path, cells, count)
    write_json(tmp_path / cells[0].id / "failure.json", {"reason": "no clip"})
    leases.take(tmp_path / cells[1].id)  # a helper's
    for _ in range(2):
        own.start(cells)
        assert len(own.alive) == expected, "none twice"
    token = leases.take(tmp_path / cells[2].id)
    own._take(1, message(event="start", cell=cells[2].id, first=True))
    own.start(cells)
    assert len(own.alive) == expected, "one of them is at work"
    own._take(1, Ended("with its node", lost=True))
    own.start(cells)
    assert len(own.alive) == min(count, 2), "while the lease is not free, nobody takes its place"
    leases.drop(tmp_path / cells[2].id, token)
    own.start(cells)
    assert len(own.alive) == expected


def test_a_cell_fails_when_it_has_ended_its_worker_too_often(tmp_path, capsys):
    (tmp_path / "workers.log").write_text("Killed: out of memory\n\n")
    own = pool_of(tmp_path)
    name = CELLS[0].id
    for attempt in range(1, pool.ATTEMPTS + 1):
        assert name not in own.failed
        assert die(own, attempt, name) is True
    assert list(own.failed) == [name] and own.ended(name) and not own.ended(CELLS[1].id)
    assert f"its worker ended {pool.ATTEMPTS} times, last with status -9" in own.failed[name]
    assert "Killed: out of memory" in own.failed[name]
    assert capsys.readouterr().out.count("another takes over") == pool.ATTEMPTS
    assert not own.alive and not own.working
    assert not waiting.waits(tmp_path / name), "no worker gets it again in this run"
    own.let_go()
    assert waiting.waits(tmp_path / name), "the next may have no such killer"


def test_workers_that_end_before_they_take_a_cell_end_the_sweep(tmp_path):
    own = pool_of(tmp_path)
    for attempt in range(1, pool.ATTEMPTS):
        die(own, attempt, None, status=1)
    with pytest.raises(UserError, match="workers end before they take a cell"):
        die(own, 99, None, status=1)


def test_a_worker_that_ends_well_or_has_told_its_failure_counts_for_nothing(tmp_path, capsys):
    own = pool_of(tmp_path)
    die(own, 1, CELLS[0].id, status=0)
    write_json(tmp_path / CELLS[0].id / "failure.json", {"reason": "no clip"})
    die(own, 2, CELLS[0].id)
    assert not own.deaths and own.failed == {CELLS[0].id: "no clip"}
    assert capsys.readouterr().out == ""


def test_planning_leaves_failed_cells_out_unless_they_are_to_be_tried_again(tmp_path):
    write_json(tmp_path / CELLS[0].id / "failure.json", {"reason": "no clip"})
    for retry, expected in ((False, CELLS[1:3]), (True, CELLS[:3])):
        workers = Workers(1, retry_failed=retry)
        pool.plan(Sweep(TABLE, CELLS[:3], tmp_path, tmp_path, workers, STAGES))
        assert list(waiting.planned(tmp_path, TABLE.name)) == [cell.id for cell in expected]
        assert waiting.waits(tmp_path / CELLS[0].id) == retry
    assert not (tmp_path / CELLS[0].id / "failure.json").exists()


def test_lost_machines_count_apart_and_without_a_cell_not_at_all(tmp_path):
    own, name = pool_of(tmp_path), CELLS[0].id
    for attempt in range(1, pool.LOSSES):
        die(own, attempt, name, lost=True)
        die(own, attempt, None, lost=True)
    die(own, 98, name)
    assert not own.failed
    die(own, 98, None, lost=True)
    die(own, 99, name, lost=True)
    assert f"its worker ended {pool.LOSSES} times" in own.failed[name]


def test_workers_have_longer_to_save_before_a_time_limit(tmp_path, monkeypatch):
    own = pool_of(tmp_path)
    own.stop(3.0)
    assert own.launcher.seconds == 3.0
    monkeypatch.setattr(pool.preempt, "requested", lambda: True)
    own.stop()
    assert own.launcher.seconds == pool.SAVE_SECONDS
