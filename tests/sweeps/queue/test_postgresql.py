"""A PostgreSQL server for the study, a real one; and what the dashboard shows of either storage."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import fake
import postgres
import pytest
from ports import free_port
from programs import begun, children, stamps, until
from queued import CELLS, TABLE, drain

from direct.common.errors import UserError
from sweeps.queue import dashboard, storage, waiting

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server():
    if reason := postgres.missing():
        pytest.skip(reason)
    with postgres.server() as running:
        yield running


@pytest.fixture
def ended(tmp_path):
    """Run folders of cells that have all ended."""
    waiting.plan(tmp_path, "s", CELLS)
    drain(tmp_path)
    return tmp_path


def shown(root, url):
    study = storage.open_study(root, "s", url)
    dashboard.add(study, TABLE, CELLS, root)
    return [(t.state, t.params, t.value, t.user_attrs) for t in study.trials]


def test_a_server_shows_what_a_journal_shows_and_nothing_twice(server, ended):
    assert shown(ended, server.url) == shown(ended, server.url) == shown(ended, None)
    assert len(shown(ended, None)) == len(CELLS)


def test_run_folders_of_two_places_do_not_mix(server, ended):
    for name in ("one", "two"):
        shutil.copytree(ended, ended / name / "tiny", ignore=lambda *_: {"one", "two"})
        assert len(shown(ended / name / "tiny", server.url)) == len(CELLS)
    moved = shutil.move(ended / "one", ended / "three")  # as another host mounts it
    assert len(shown(Path(moved) / "tiny", server.url)) == len(CELLS)


def test_a_server_that_is_gone_is_one_sentence_without_the_password(server, tmp_path):
    url = server.url.replace("postgres@", "postgres:secret@")
    server.stop()
    try:
        with pytest.raises(UserError, match=r"postgresql://postgres@127.*does not answer") as error:
            storage.open_study(tmp_path, "s", url)
    finally:
        server.start()
    assert "secret" not in str(error.value) and "\n" not in str(error.value)


def test_a_sweep_outlives_its_server_and_shows_everything_afterwards(server, tmp_path):
    """The server is stopped in the middle. Workers never hear of it, nor of its address."""
    arguments = ["--prompts", "4", "--seeds", "0", "--workers", "2", "--out", str(tmp_path)]
    command = [sys.executable, fake.__file__, "lambda_hard", *arguments, "--storage", server.url]
    surroundings = os.environ | {
        "PYTHONPATH": str(Path(fake.__file__).parents[2]),
        "OMP_NUM_THREADS": "1",
    }
    gate = tmp_path / "gate"
    running = subprocess.Popen(
        command,
        env=surroundings | {"FAKE_GATE": str(gate)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    until(lambda: begun(tmp_path) == 2, "both workers have a cell", running)
    server.stop()
    try:
        workers = children(running)
        assert len(workers) == 2
        for pid in workers:
            for place in ("cmdline", "environ"):
                assert server.url.encode() not in Path(f"/proc/{pid}/{place}").read_bytes()
        gate.write_text("4")
        said = running.communicate(timeout=300)[0]
    finally:
        server.start()
    assert running.returncode == 0, said
    assert said.count("does not answer") == 1 and "shows these results later" in said
    root = tmp_path / "runs/tiny"
    before = stamps(tmp_path)
    assert len(before) == 4 and not storage.journal(root).exists()
    assert begun(tmp_path) == 4, "every cell once"
    more = [part if part != "0" else "0,1" for part in command]  # the next run of this sweep
    again = subprocess.run(more, env=surroundings, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stdout + again.stderr
    assert before.items() <= stamps(tmp_path).items()
    trials = storage.open_study(root, "lambda_hard", server.url).trials
    names = {path.parent.name for path in root.glob("*/result.json")}
    assert len(trials) == len(names) == 8 and {t.user_attrs["cell"] for t in trials} == names


@pytest.mark.parametrize("kind", ["journal", "postgresql"])
def test_the_dashboard_shows_parameters_and_scores_per_cell(kind, ended, request):
    """`optuna-dashboard STORAGE`, asked over HTTP as a browser would."""
    pytest.importorskip("optuna_dashboard")
    url = None if kind == "journal" else request.getfixturevalue("server").url
    study = storage.open_study(ended, "s", url)
    dashboard.add(study, TABLE, CELLS, ended)
    port = str(free_port())
    place = str(storage.journal(ended)) if url is None else storage.checked_url(url)
    program = Path(sys.executable).with_name("optuna-dashboard")
    process = subprocess.Popen(
        [program, place, "--host", "127.0.0.1", "--port", port],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        found = ask(process, port, "studies")["study_summaries"]
        number = next(s["study_id"] for s in found if s["study_name"] == study.study_name)
        trials = ask(process, port, f"studies/{number}?after=0")["trials"]
    finally:
        process.terminate()
        process.wait(120)
    assert len(trials) == len(CELLS)
    for cell, trial in zip(CELLS, trials, strict=True):
        shown = {x["key"]: x["value"].strip('"') for x in trial["user_attrs"]}
        assert trial["state"] == "Complete" and float(trial["values"][0]) == 0.25
        assert (shown["cell"], shown["row"], shown["SA"]) == (cell.id, cell.row, "0.5")
        params = {p["name"]: float(p["param_external_value"]) for p in trial["params"]}
        assert params["loss.lambda_hard"] == cell.config.loss.lambda_hard
        assert params["seed"] == cell.config.seed


def ask(process, port, path):
    end = time.monotonic() + 300
    while time.monotonic() < end:
        assert process.poll() is None
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/{path}", timeout=60) as reply:
                return json.load(reply)
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the dashboard does not answer")
