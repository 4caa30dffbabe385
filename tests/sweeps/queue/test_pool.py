"""Worker processes: one that is killed is replaced; a sweep that is joined is the planned one."""

import subprocess
import time

import pytest
from programs import FAKE, environment, sweep, tables

from direct.common.errors import UserError
from sweeps import run
from sweeps.queue import pool

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


def test_a_worker_that_is_killed_every_time_fails_its_cells_and_no_others(tmp_path):
    done = sweep(tmp_path, "--seeds", "0", FAKE_KILL="0.1")
    assert done.returncode == 1
    assert done.stdout.count("ended with status -9, another takes over") == pool.ATTEMPTS
    assert "its worker ended 3 times" in done.stdout
    assert b"Incomplete: 1 of 4 cells" in tables(tmp_path)["table_s3.md"]
    again = sweep(tmp_path, "--seeds", "0")  # whoever killed it may be gone: tried anew
    assert again.returncode == 0 and "1 of 4 cells to do" in again.stdout
