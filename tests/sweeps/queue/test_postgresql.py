"""PostgreSQL as the queue, on a real server; and what the dashboard shows of either storage."""

import json
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path

import fake
import postgres
import pytest
from queued import CELLS, TABLE, finish_all

from direct.common.errors import UserError
from direct.config import Run
from direct.profiles import profile
from direct.settings import override
from sweeps import cell as cell_module
from sweeps.queue import leases, storage
from sweeps.queue import study as queue
from sweeps.schema import cells

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server():
    if reason := postgres.missing():
        pytest.skip(reason)
    with postgres.server() as running:
        yield running


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(queue, "CLAIM_SECONDS", 0.0)
    monkeypatch.setattr(storage, "RETRY_SECONDS", 0.1)


def claim_all(root, url, answers):
    study = storage.open_study(root, "s", url)
    while trial := queue.claim(study):
        answers.put(trial.user_attrs["cell"])


def test_every_cell_goes_to_one_worker(server, tmp_path):
    """Four processes, thirty cells, all at once."""
    many = cells(TABLE, override(profile("tiny"), "evaluate.prompts=3"), range(8))
    many = list({cell.id: cell for cell in many}.values())
    study = storage.open_study(tmp_path, "s", server.url)
    queue.plan(study, TABLE, many, tmp_path)
    study._storage._backend.engine.dispose()  # no connection is shared with the children
    fork = multiprocessing.get_context("fork")
    answers = fork.Queue()
    workers = [
        fork.Process(target=claim_all, args=(tmp_path, server.url, answers)) for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    claimed = Counter(answers.get(timeout=120) for _ in many)
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert claimed == Counter(cell.id for cell in many) and answers.empty()


def test_planning_finishing_and_failing_are_the_journals(server, tmp_path):
    study = storage.open_study(tmp_path, "s", server.url)
    queue.plan(study, TABLE, CELLS, tmp_path)
    queue.plan(storage.open_study(tmp_path, "s", server.url), TABLE, CELLS, tmp_path)
    failed = queue.claim(study)
    queue.fail(study, failed)
    finish_all(study, tmp_path)
    states = Counter(trial.state.name for trial in study.trials)
    assert states == {"FAIL": 1, "COMPLETE": len(CELLS) - 1}
    queue.plan(study, TABLE, CELLS, tmp_path)
    assert queue.claim(study).user_attrs["cell"] == failed.user_attrs["cell"]
    complete = next(t for t in study.trials if t.state.name == "COMPLETE")
    assert complete.user_attrs["SA"] == 0.5 and complete.value == 0.25


def test_a_cell_given_back_is_the_next_workers(server, tmp_path):
    for url in (server.url, None):
        root = tmp_path / str(url is None)
        root.mkdir()
        study = storage.open_study(root, "s", url)
        queue.plan(study, TABLE, CELLS[:1], root)
        token = leases.take(root / CELLS[0].id)
        queue.give_back(study, queue.claim(study))
        queue.plan(study, TABLE, CELLS[:1], root)  # the lease is held: nothing is added
        leases.drop(root / CELLS[0].id, token)
        queue.plan(study, TABLE, CELLS[:1], root)
        assert [trial.state.name for trial in study.trials] == ["FAIL", "WAITING"]
        assert queue.claim(study).user_attrs["attempt"] == 1


def test_run_folders_of_two_places_do_not_mix(server, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name / "tiny").mkdir(parents=True)
        study = storage.open_study(tmp_path / name / "tiny", "s", server.url)
        queue.plan(study, TABLE, CELLS[:2], tmp_path / name / "tiny")
        assert len(study.trials) == 2
    moved = shutil.move(tmp_path / "one", tmp_path / "three")  # as another host mounts it
    assert len(storage.open_study(Path(moved) / "tiny", "s", server.url).trials) == 2


def test_a_server_that_restarts_is_waited_for(server, tmp_path, capsys):
    study = storage.open_study(tmp_path, "s", server.url)
    queue.plan(study, TABLE, CELLS[:1], tmp_path)
    server.stop()
    restart = threading.Timer(0.5, server.start)
    restart.start()
    assert queue.claim(study).user_attrs["cell"] == CELLS[0].id
    restart.join()
    assert "does not answer, trying again" in capsys.readouterr().out


def test_a_server_that_is_gone_is_one_sentence_without_the_password(server, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "PATIENCE_SECONDS", 0.2)
    url = server.url.replace("postgres@", "postgres:secret@")
    study = storage.open_study(tmp_path, "s", url)
    server.stop()
    try:
        with pytest.raises(UserError, match="results are kept, run again") as late:
            queue.claim(study)
        with pytest.raises(UserError, match=r"postgresql://postgres@127.*does not answer") as early:
            storage.open_study(tmp_path, "s", url)
    finally:
        server.start()
    for error in (late, early):
        assert "secret" not in str(error.value) and "\n" not in str(error.value)


def test_a_sweep_on_postgresql_killed_half_way(server, tmp_path, monkeypatch):
    """Planner and workers, real processes, a kill -9; the results' bytes are those of this process.

    The URL reaches workers through the environment alone: command lines are seen by everyone.
    """
    command = [
        sys.executable,
        fake.__file__,
        "lambda_hard",
        "--prompts",
        "4",
        "--seeds",
        "0",
        "--workers",
        "2",
        "--out",
        str(tmp_path),
        "--storage",
        server.url,
    ]
    surroundings = os.environ | {
        "PYTHONPATH": str(Path(fake.__file__).parents[2]),
        "OMP_NUM_THREADS": "1",
    }
    executed = tmp_path / "cache/tiny/executed.log"
    first = subprocess.Popen(
        command,
        env=surroundings | {"FAKE_SECONDS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while not (executed.exists() and executed.stat().st_size):
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.05)
    workers = subprocess.run(
        ["pgrep", "-P", str(first.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    seen = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in workers]
    assert len(seen) == 2 and not any(server.url.encode() in line for line in seen)
    first.kill()
    first.wait()
    again = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stdout + again.stderr
    base = override(profile("tiny"), "evaluate.prompts=4")
    root = tmp_path / "runs/tiny"
    assert not storage.journal(root).exists()
    here = tmp_path / "here"
    for cell in cells(TABLE, base, (0,)):
        cell_module.write_config(here / cell.id, cell.config)
        run = Run(cell.config, tmp_path / "cache", here / cell.id)
        cell_module.run_cell(run, fake.STAGES)
        mine, theirs = (json.loads((r / cell.id / "result.json").read_text()) for r in (here, root))
        assert mine["scores"] == theirs["scores"]
    trials = storage.open_study(root, "lambda_hard", server.url).trials
    complete = Counter(t.user_attrs["cell"] for t in trials if t.state.name == "COMPLETE")
    assert complete == Counter(path.parent.name for path in root.glob("*/result.json"))
    assert len(complete) == 4


@pytest.mark.parametrize("kind", ["journal", "postgresql"])
def test_the_dashboard_shows_parameters_and_scores_per_cell(kind, tmp_path, request):
    """`optuna-dashboard STORAGE`, asked over HTTP as a browser would."""
    pytest.importorskip("optuna_dashboard")
    url = None if kind == "journal" else request.getfixturevalue("server").url
    study = storage.open_study(tmp_path, "lambda_hard", url)
    queue.plan(study, TABLE, CELLS, tmp_path)
    finish_all(study, tmp_path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    place = str(storage.journal(tmp_path)) if url is None else storage.checked_url(url)
    program = Path(sys.executable).with_name("optuna-dashboard")
    dashboard = subprocess.Popen(
        [program, place, "--host", "127.0.0.1", "--port", port],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        found = ask(dashboard, port, "studies")["study_summaries"]
        number = next(s["study_id"] for s in found if s["study_name"] == study.study_name)
        trials = ask(dashboard, port, f"studies/{number}?after=0")["trials"]
    finally:
        dashboard.terminate()
        dashboard.wait(30)
    assert len(trials) == len(CELLS)
    for cell, trial in zip(CELLS, trials, strict=True):
        shown = {x["key"]: x["value"].strip('"') for x in trial["user_attrs"]}
        assert trial["state"] == "Complete" and float(trial["values"][0]) == 0.25
        assert (shown["cell"], shown["row"], shown["SA"]) == (cell.id, cell.row, "0.5")
        params = {p["name"]: float(p["param_external_value"]) for p in trial["params"]}
        assert params["loss.lambda_hard"] == cell.config.loss.lambda_hard
        assert params["seed"] == cell.config.seed


def ask(dashboard, port, path):
    for _ in range(600):
        assert dashboard.poll() is None
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/{path}", timeout=60) as reply:
                return json.load(reply)
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the dashboard does not answer")
