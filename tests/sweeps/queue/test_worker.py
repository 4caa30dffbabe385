"""A worker process: what it tells its planner, and how it ends with it."""

import errno
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace

import pytest
from queued import CELLS, STAGES

from direct.common import preempt
from direct.common.text import plain
from direct.identity import identity
from direct.settings import with_values
from sweeps.cell import read_result, write_config
from sweeps.queue import leases, pool, waiting, worker, workers


def test_a_worker_whose_planner_is_gone_ends_and_fails_no_cell(tmp_path):
    code = (
        "from sweeps.queue import worker\n"
        "try: worker.send(event='progress')\nexcept Exception: print('raised', flush=True)"
    )
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert ended.returncode == 1 and ended.stderr == b""


def test_terminal_control_is_not_obeyed():
    assert "\x1b" not in plain("\x1b[2J\u202ehidden") and pool.MARK not in plain("\x1e{}")


def test_a_message_is_one_marked_line_whatever_is_in_it(capsys):
    worker.send(event="say", text="two\nlines \x1e and a mark")
    out = capsys.readouterr().out
    assert out[0] == worker.MARK and out.count("\n") == 1 and out.count(worker.MARK) == 1
    assert json.loads(out[1:]) == {"event": "say", "text": "two\nlines \x1e and a mark"}


def folder_of(root, cell=CELLS[0]):
    folder = root / cell.id
    write_config(folder, asdict(cell.config))
    return folder, leases.take(folder)


def events(capsys):
    lines = capsys.readouterr().out.split("\n")
    return [json.loads(line[1:]) for line in lines if line.startswith(worker.MARK)]


def test_an_attempt_leaves_a_result(tmp_path):
    folder, token = folder_of(tmp_path)
    assert worker.attempt(tmp_path, folder, token, STAGES) is False
    assert read_result(folder)["scores"] == {"PC": [0.25], "SA": [0.5]}
    assert not (folder / "failure.json").exists()


def test_a_measurement_is_one_process_on_any_number_of_gpus(tmp_path, monkeypatch):
    monkeypatch.setenv(workers.GPUS, "8")
    scores, _ = folder_of(tmp_path)
    assert worker.ranks_of(scores) == 8
    for kind in ("cost", "alignment", "gain"):
        config = with_values(CELLS[0].config, {"measure.kind": kind})
        folder = tmp_path / identity(config)
        write_config(folder, asdict(config))
        assert worker.ranks_of(folder) == 1
    (scores / "config.json").write_text("{")
    assert worker.ranks_of(scores) == 8, "the ranks say what is wrong with it"


def test_an_error_is_written_down_and_a_lost_lease_leaves_nothing(tmp_path):
    def fails(run):
        raise ValueError("a clip\nis broken")

    folder, token = folder_of(tmp_path)
    assert worker.attempt(tmp_path, folder, token, replace(STAGES, train=fails)) is False
    failure = json.loads((folder / "failure.json").read_text())
    assert "a clip" in failure["reason"] and read_result(folder) is None
    (folder / "failure.json").unlink()
    assert worker.attempt(tmp_path, folder, "another token", STAGES) is False
    assert read_result(folder) is None and not (folder / "failure.json").exists()
    failing = replace(STAGES, train=fails)  # whose files the one that took over writes meanwhile
    assert worker.attempt(tmp_path, folder, "another token", failing) is False
    assert not (folder / "failure.json").exists()


def test_a_cache_that_is_removed_meanwhile_is_made_again(tmp_path, capsys):
    folder, token = folder_of(tmp_path / "runs")
    shard = tmp_path / "cache" / "latents" / "a.safetensors"
    shard.parent.mkdir(parents=True)
    calls = []

    def trains(run):
        calls.append(1)
        if len(calls) == 1:
            shard.read_bytes()  # as a store reads: gone since it was listed
        shard.touch()

    stages = replace(STAGES, train=trains)
    assert worker.attempt(tmp_path / "cache", folder, token, stages) is False
    assert read_result(folder) and len(calls) == 2 and not (folder / "failure.json").exists()
    assert [e["text"] for e in events(capsys) if e["event"] == "say"] == [
        f"{folder.name}: {shard} was removed; made again"
    ]


@pytest.mark.parametrize("where", ["cache", "elsewhere"])
def test_a_file_that_stays_away_is_a_failure(tmp_path, where):
    folder, token = folder_of(tmp_path / "runs")
    calls = []

    def trains(run):
        calls.append(1)
        (tmp_path / where / "absent").read_bytes()

    assert worker.attempt(tmp_path / "cache", folder, token, replace(STAGES, train=trains)) is False
    assert "absent" in json.loads((folder / "failure.json").read_text())["reason"]
    assert len(calls) == (2 if where == "cache" else 1)


def test_a_full_disk_fails_no_cell(tmp_path):
    def full(run):
        raise OSError(errno.ENOSPC, "No space left on device")

    folder, token = folder_of(tmp_path)
    with pytest.raises(OSError, match="No space"):
        worker.attempt(tmp_path, folder, token, replace(STAGES, train=full))
    assert not (folder / "failure.json").exists()


def test_a_stage_that_reports_stops_where_a_stop_was_asked_for(tmp_path, monkeypatch, capsys):
    """Training saves first and looks for itself; the others are stopped as they report."""
    monkeypatch.setattr(preempt, "requested", lambda: True)
    told = []

    def trains(run):
        run.progress("train", 1, 3)
        told.append("train")

    def generates(run):
        run.progress("generate", 1, 3)
        told.append("generate")

    folder, token = folder_of(tmp_path)
    stages = replace(STAGES, train=trains, generate=generates)
    assert worker.attempt(tmp_path, folder, token, stages) is True
    assert told == ["train"] and not (folder / "failure.json").exists()
    assert [(event["stage"], event["done"]) for event in events(capsys)] == [
        ("train", 1),
        ("generate", 1),
    ]


def test_a_worker_drains_its_sweep_and_drops_its_leases(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(preempt, "listen", lambda *signals: None)
    monkeypatch.setattr(worker, "follow", lambda process: None)
    waiting.plan(tmp_path, "s", CELLS[:3])
    held = leases.take(tmp_path / CELLS[1].id)  # another sweep works on it
    worker.main(tmp_path, tmp_path, "s", STAGES)
    said = events(capsys)
    assert [event["event"] for event in said] == ["start", "done"] * 2
    assert [event["cell"] for event in said[::2]] == [CELLS[0].id, CELLS[2].id]
    assert read_result(tmp_path / CELLS[1].id) is None and leases.holds(
        tmp_path / CELLS[1].id, held
    )
    assert not any((tmp_path / CELLS[i].id / leases.NAME).exists() for i in (0, 2))


def test_a_worker_that_is_told_to_stop_leaves_its_cell_waiting(tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(preempt, "listen", lambda *signals: None)
    monkeypatch.setattr(preempt, "requested", lambda: bool(asked))
    monkeypatch.setattr(worker, "follow", lambda process: None)

    def trains(run):
        asked.append(run)
        raise preempt.Preempted

    waiting.plan(tmp_path, "s", CELLS[:2])
    worker.main(tmp_path, tmp_path, "s", replace(STAGES, train=trains))
    assert [event["event"] for event in events(capsys)] == ["start", "stopped"]
    assert all(waiting.waits(tmp_path / cell.id) for cell in CELLS[:2])


def test_who_follows_a_process_that_is_gone_ends():
    code = (
        "import sys, time; from sweeps.queue import worker; worker.follow(int(sys.argv[1])); "
        "time.sleep(600)"
    )
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    done = subprocess.run([sys.executable, "-c", code, str(gone.pid)], timeout=300, check=False)
    assert done.returncode == 1
