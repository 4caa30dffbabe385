"""Worker processes: one that is killed is replaced; a sweep that is joined is the planned one."""

import json
import subprocess
import threading
import time

import pytest
from programs import FAKE, environment, sweep, tables
from queued import CELLS, STAGES, TABLE

from direct.common.errors import UserError
from direct.common.files import write_json
from sweeps import run
from sweeps.queue import pool, waiting
from sweeps.queue.display import Display, Job
from sweeps.queue.estimate import Estimator
from sweeps.queue.sweep import Sweep, Workers

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
    log = tmp_path / "workers"
    arguments = ["--out", str(tmp_path), "--seeds", "0", "--prompts", "4"]
    planner = subprocess.Popen(
        [*FAKE, *arguments, "--workers", "1"],
        stdout=subprocess.DEVNULL,
        env=environment(FAKE_SECONDS="1.5", FAKE_WORKERS=str(log)),
    )
    while not (tmp_path / "cache/tiny/executed.log").exists():
        assert planner.poll() is None
        time.sleep(0.05)
    helper = subprocess.Popen(
        [*FAKE, *arguments, "--workers", "1", "--join"],
        env=environment(FAKE_SECONDS="12"),
        stdout=subprocess.DEVNULL,
    )
    assert planner.wait(120) == 0 and helper.wait(120) == 0
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


def pool_of(tmp_path, cells=CELLS[:2]):
    """A pool without processes, and the display and estimator it tells."""
    workers = Workers(2)
    sweep = Sweep(TABLE, list(cells), tmp_path, tmp_path, workers, STAGES)
    estimator = Estimator(tmp_path, {cell.id: cell.config for cell in cells})
    return pool._Pool(sweep, Display(), estimator)


def message(**values):
    return pool.MARK + json.dumps(values)


def test_what_workers_send_reaches_the_estimate_and_what_they_print_the_person(tmp_path, capsys):
    own = pool_of(tmp_path)
    name = CELLS[0].id
    assert own._take(1, message(event="start", cell=name)) is False
    assert own.working == {1: name}
    assert (
        own._take(1, message(event="progress", cell=name, stage="train", done=1, total=2)) is False
    )
    assert own.estimator.stages == {name: ("train", 1, 2)}
    assert own._take(1, "a warning of torch") is False
    assert own._take(1, message(event="say", text="taken over")) is False
    assert capsys.readouterr().out.splitlines() == ["a warning of torch", "taken over"]
    board = own.board(list(own.cells.values()))
    job = (CELLS[0].row, CELLS[0].config.seed, "train", 1, 2)
    assert (board.done, board.total) == (0, 2) and board.jobs == (Job(*job),)
    assert own._take(1, message(event="done", cell=name, status="done")) is True
    assert own.working == {} and own.estimator.ended == {name}
    assert own._take(1, pool.ENDED) is True


class Ended:
    """A worker process that has ended."""

    def __init__(self, pid, returncode):
        self.pid, self.returncode = pid, returncode

    def poll(self):
        return self.returncode


def die(own, pid, cell, status=-9):
    own.processes.append(Ended(pid, status))
    own.slots[pid] = 0
    own.readers[pid] = threading.Thread(target=lambda: None)
    own.readers[pid].start()
    if cell:
        own.working[pid] = cell
    return own.reap()


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
    assert own.reap() is False and own.processes == [] and own.slots == {}
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
        assert waiting.planned(tmp_path, TABLE.name) == [cell.id for cell in expected]
        assert waiting.waits(tmp_path / CELLS[0].id) == retry
    assert not (tmp_path / CELLS[0].id / "failure.json").exists()


def test_a_failure_is_told_as_it_happens_with_row_seed_and_log(tmp_path, capsys):
    own, cell = pool_of(tmp_path), CELLS[0]
    write_json(tmp_path / cell.id / "failure.json", {"reason": "no clip"})
    own._take(1, message(event="failed", cell=cell.id))
    assert capsys.readouterr().out == (
        f"failed: {cell.row}, seed {cell.config.seed} ({cell.id}): no clip "
        f"(see {tmp_path / 'workers.log'})\n"
    )


class Stubborn:
    """A worker that does not end before it is killed."""

    def __init__(self):
        self.pid, self.done, self.pressed = 7, [], False

    def poll(self):
        return None

    def terminate(self):
        self.done.append("terminate")

    def kill(self):
        self.done.append("kill")

    def wait(self, seconds=None):
        if not self.pressed:
            self.pressed = True
            raise KeyboardInterrupt


def test_a_second_ctrl_c_kills_who_has_not_stopped(tmp_path):
    own, worker = pool_of(tmp_path), Stubborn()
    own.processes.append(worker)
    own.stop(pool.PATIENCE)
    assert worker.done == ["terminate", "kill"]
