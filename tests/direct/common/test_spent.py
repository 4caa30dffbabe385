"""What work took: lines that are written whole, and read whatever else is in the file."""

from __future__ import annotations

import json
import multiprocessing
import time

import pytest

from direct.common import spent


def test_a_block_is_noted_with_its_seconds_and_its_process(tmp_path):
    began = time.monotonic()
    with spent.noted(tmp_path, "render", 8):
        time.sleep(0.03)
    elapsed = time.monotonic() - began
    spent.note(tmp_path, "perturb", 16, 2.5, processes=3)
    one, two = spent.read(tmp_path / spent.FILE)
    assert one["stage"] == "render" and one["items"] == 8 and one["processes"] == 1
    assert 0.03 <= one["seconds"] <= elapsed + 1e-4 and one["device"]
    assert 10e6 < one["host_bytes"] < 1e12, "this process has some tens of megabytes at least"
    assert (two["items"], two["seconds"], two["processes"]) == (16, 2.5, 3)


def test_work_that_fails_is_not_noted(tmp_path):
    with pytest.raises(ZeroDivisionError), spent.noted(tmp_path, "render", 8):
        raise ZeroDivisionError
    assert spent.read(tmp_path / spent.FILE) == []


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with spent.noted(tmp_path / "file", "render", 8):
        pass
    with spent.noted(tmp_path / "nowhere", "render", 8):
        pass


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"\xff\xfe",
        b"[1]",
        b"[" * 100_000,
        b'{"stage": "render"}',
        b'{"stage":"x","items":1,"seconds":-1,"processes":1,"gpu_bytes":0,"host_bytes":0}',
        b'{"stage":"x","items":true,"seconds":1,"processes":1,"gpu_bytes":0,"host_bytes":0}',
        b'{"stage":"x","items":1,"seconds":NaN,"processes":1,"gpu_bytes":0,"host_bytes":0}',
    ],
)
def test_what_is_no_whole_line_is_left_out(tmp_path, line):
    spent.note(tmp_path, "render", 8, 1.0)
    path = tmp_path / spent.FILE
    path.write_bytes(line + b"\n" + path.read_bytes() + line)
    assert [x["items"] for x in spent.read(path)] == [8]


def write(folder):
    for n in range(200):
        spent.note(folder, "render", n, 1.0)


def test_processes_that_write_at_once_leave_whole_lines(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=write, args=(tmp_path,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    lines = (tmp_path / spent.FILE).read_text().splitlines()
    assert sorted(json.loads(line)["items"] for line in lines) == sorted([*range(200)] * 3)
