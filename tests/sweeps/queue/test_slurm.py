"""Allocations: an sbatch array that survives its time limit, and its script."""

import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

import fake
import pytest

from direct.common.errors import UserError
from direct.common.files import write_json
from direct.profiles import profile
from direct.settings import override
from sweeps import run
from sweeps.ablations import ABLATIONS
from sweeps.cell import read_result
from sweeps.options import options_of, workers_of
from sweeps.queue import slurm, waiting
from sweeps.queue import workers as workers_module
from sweeps.queue.sweep import Sweep
from sweeps.schema import cells

BASE = override(profile("tiny"), "evaluate.prompts=4")
PLANNED = cells(ABLATIONS["lambda_hard"], BASE, (0,))


def as_submitted(path):
    """The script with stand-in stages. No SLURM is here: bash runs it, `scontrol` is a stub."""
    text = path.read_text()
    assert text.count("-m sweeps.run") == 1
    path.write_text(text.replace("-m sweeps.run", fake.__file__))
    stub = path.with_name("scontrol")
    stub.write_text(f'#!/bin/bash\necho "$@" >> {path.parent}/scontrol.log\n')
    stub.chmod(0o755)
    return {
        "PATH": f"{path.parent}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "4711",
        "SLURM_ARRAY_JOB_ID": "4711",
        "SLURM_ARRAY_TASK_ID": "3",
    }


PLAN = ["lambda_hard", "--prompts", "4", "--seeds", "0", "--launcher", "slurm"]


def options(*more):
    found = options_of([*PLAN, *more])
    return found, workers_of(found, BASE)


def traps(process, number):
    """Whether a process has a handler of its own for a signal, which would end it before."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


@pytest.mark.slow
def test_an_array_survives_its_time_limit(tmp_path, surroundings, capsys):
    """The signal before the limit: saved, given back, queued again; then two tasks share the rest.

    With --join a task neither prepares nor plans under the lock; both leave a whole table.
    """
    assert run.main([*PLAN, "--out", str(tmp_path)]) == 0
    root = tmp_path / "runs/tiny"
    path = root / "lambda_hard.sbatch"
    assert f"sbatch --time=24:00:00 {path}" in capsys.readouterr().out
    extra = os.environ | as_submitted(path)
    (tmp_path / "cache/tiny").mkdir(parents=True)
    executed = tmp_path / "cache/tiny/executed.log"
    task = subprocess.Popen(["bash", str(path)], env=extra | {"FAKE_SECONDS": "3600"})
    while not (executed.exists() and executed.stat().st_size and traps(task, signal.SIGUSR1)):
        assert task.poll() is None
        time.sleep(0.05)
    task.send_signal(signal.SIGUSR1)
    assert task.wait(300) == 75
    assert (root / "scontrol.log").read_text() == "requeue 4711_3\n", "this task alone"
    begun = executed.read_text().split()
    assert len(begun) == 1 and not (root / begun[0] / "lease.json").exists()
    assert list(waiting.planned(root, "lambda_hard")) == [cell.id for cell in PLANNED]
    assert all(waiting.waits(root / cell.id) for cell in PLANNED), "the stopped one among them"
    tasks = [
        subprocess.Popen(["bash", str(path)], env=extra, text=True, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    said = [task.communicate(timeout=300)[0] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0]
    assert all(read_result(root / cell.id) for cell in PLANNED)
    assert sorted(executed.read_text().split()) == sorted(
        [*begun, *(cell.id for cell in PLANNED)]
    ), "every cell once, and the stopped one again"
    assert any("table_s3.md" in text for text in said)


def test_a_worker_that_ends_while_its_signal_is_handled_keeps_its_status(tmp_path, monkeypatch):
    """On a busy node: it has saved and ended before bash looks for it again."""
    monkeypatch.chdir(tmp_path)  # where the script goes
    path = tmp_path / "lambda_hard.sbatch"
    path.write_text(slurm.script(*options("--out", str(tmp_path)), 1, tmp_path, "lambda_hard"))
    extra = os.environ | as_submitted(path)
    worker = "trap 'exit 75' USR1; touch begun; while :; do sleep 0.1; done"
    looks = 'while kill -0 "$worker"; do sleep 0.1; done'
    lines = path.read_text().splitlines()
    for i, line in enumerate(lines):
        if fake.__file__ in line:
            lines[i] = f"bash -c {shlex.quote(worker)} &"
        if line.startswith("trap "):
            lines[i] = line.replace("' USR1 TERM", f"; {looks}' USR1 TERM")
    path.write_text("\n".join(lines))
    task = subprocess.Popen(["bash", str(path)], env=extra, stderr=subprocess.DEVNULL)
    while not ((tmp_path / "begun").exists() and traps(task, signal.SIGUSR1)):
        assert task.poll() is None
        time.sleep(0.02)
    task.send_signal(signal.SIGUSR1)
    assert task.wait(300) == 75
    assert (tmp_path / "scontrol.log").read_text() == "requeue 4711_3\n"


def test_the_script_asks_for_what_a_worker_owns(tmp_path):
    found, workers = options(
        "--gpus-per-cell",
        "4",
        "--set",
        "loss.lambda_anc=0.3",
        "--storage",
        "postgresql://me@db/sweeps",
        "--out",
        str(tmp_path / "a b; rm -rf c"),
    )
    text = slurm.script(found, workers, 3, tmp_path, "lambda_hard")
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    for line in (
        "#SBATCH --array=0-2",
        "#SBATCH --gpus-per-node=4",
        "#SBATCH --requeue",
        f"#SBATCH --signal=B:USR1@{workers_module.SAVE_SECONDS}",
        "export SWEEPS_STORAGE=postgresql://me@db/sweeps",
    ):
        assert line in text.splitlines()
    command = next(line for line in text.splitlines() if "sweeps.run" in line)
    assert "--gpus-per-cell 4 --set loss.lambda_anc=0.3" in command and "--join" in command
    assert f"'{tmp_path}/a b; rm -rf c'" in command and "postgresql" not in command
    assert "--launcher" not in command


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--grid", "macro.clusters=8,16"], "sweeps.run --join"),
        (["own.py", "--name", "mine"], "sweeps.run own.py --join"),
    ],
)
def test_a_worker_is_asked_for_the_same_experiment(tmp_path, asked, said):
    found = options_of([*asked, "--launcher", "slurm"])
    text = slurm.script(found, workers_of(found, BASE), 1, tmp_path, "mine")
    command = next(line for line in text.splitlines() if "sweeps.run" in line)
    assert said in command and "#SBATCH --job-name=mine" in text
    assert all(part in command for part in asked)


def test_a_password_is_not_written_into_a_script(tmp_path):
    found, workers = options("--storage", "postgresql://me:secret@db/sweeps")
    with pytest.raises(UserError, match=r"~/\.pgpass") as error:
        sweep = Sweep(ABLATIONS["lambda_hard"], [], tmp_path, tmp_path, workers)
        slurm.slurm(sweep, found, "lambda_hard")
    assert "secret" not in str(error.value) and not list(tmp_path.rglob("*.sbatch"))


def test_failed_cells_do_not_wait_for_workers(tmp_path, capsys):
    """One of five has failed: four wait. All have: nothing is submitted, and the status says so."""
    arguments = [*PLAN, "--out", str(tmp_path)]
    folders = [
        tmp_path / "runs/tiny" / cell.id for cell in cells(ABLATIONS["lambda_hard"], BASE, (0,))
    ]
    write_json(folders[0] / "failure.json", {"reason": "no clip could be read"})
    assert run.main(arguments) == 1
    said = capsys.readouterr().out
    assert f"{len(folders) - 1} cells wait" in said and "no clip could be read" in said
    script = tmp_path / "runs/tiny/lambda_hard.sbatch"
    script.unlink()
    for folder in folders:
        write_json(folder / "failure.json", {"reason": "no clip could be read"})
    assert run.main(arguments) == 1 and not script.exists()
    assert run.main([*arguments, "--retry-failed"]) == 0 and script.exists()


def test_a_path_that_sbatch_cannot_take_is_refused(tmp_path):
    with pytest.raises(UserError, match="blanks or quotes"):
        run.main([*PLAN, "--out", str(tmp_path / "a b")])
