"""Files that are whole or absent, one spelling of values, locks."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import time

import pytest
import torch
from filelock import Timeout

from direct.common import files
from direct.common.errors import UserError
from direct.common.files import cached_json, lock


def test_cached_json_is_made_once_and_again_when_damaged(tmp_path, capsys):
    made = []

    def make():
        made.append(1)
        return {"value": [0.1, "x"], "n": len(made)}

    path = tmp_path / "deep" / "entry.json"
    assert cached_json(path, make) == cached_json(path, make) and len(made) == 1
    path.write_text(path.read_text().replace("0.1", "0.2"))
    assert cached_json(path, make)["n"] == 2
    assert "damaged" in capsys.readouterr().out
    path.write_text("{")
    assert cached_json(path, make)["n"] == 3
    path.write_text("[]")
    assert cached_json(path, make)["n"] == 4


def _hold(path, ready):
    with lock(path):
        ready.set()
        time.sleep(600)


def test_lock_excludes_and_a_killed_holder_lets_go(tmp_path):
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    holder = context.Process(target=_hold, args=(tmp_path / "lock", ready), daemon=True)
    holder.start()
    assert ready.wait(60)
    import fcntl

    with open(tmp_path / "lock") as handle, pytest.raises(BlockingIOError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.kill(holder.pid, 9)
    with lock(tmp_path / "lock"):
        pass
    holder.join()


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "deep" / "value"
    files.write_text(path, "before")

    def cut(temporary):
        temporary.write_text("half")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        files.write_atomic(path, cut)
    assert path.read_text() == "before" and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("number", [28, 122])  # ENOSPC, EDQUOT
def test_a_full_disk_is_one_sentence(tmp_path, number):
    def full(temporary):
        raise OSError(number, "full")

    for write in (files.write_atomic, files.write_folder):
        with pytest.raises(UserError, match=r"no space left to write .*value; free some"):
            write(tmp_path / "value", full)

    def denied(temporary):
        raise PermissionError(13, "denied")

    with pytest.raises(PermissionError):  # anything else is told as it is
        files.write_atomic(tmp_path / "value", denied)
    assert not list(tmp_path.iterdir())


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    def write(temporary):
        (temporary / "a").write_text("1")
        assert not (tmp_path / "out").exists()
        (temporary / "b").mkdir()

    files.write_folder(tmp_path / "out", write)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "b"]
    with pytest.raises(ZeroDivisionError):
        files.write_folder(tmp_path / "other", lambda temporary: 1 / 0)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_value_has_one_spelling():
    assert files.canonical_json({"b": [1, 2.5], "a": None}) == '{"a":null,"b":[1,2.5]}'
    assert files.digest({"b": 1, "a": 2}) == files.digest({"a": 2, "b": 1})
    assert files.digest([], 64) == hashlib.sha256(b"[]").hexdigest()
    assert files.digest([]) == hashlib.sha256(b"[]").hexdigest()[:12]
    with pytest.raises(ValueError):
        files.canonical_json(float("nan"))


def test_json_that_cannot_be_read_is_one_sentence(tmp_path):
    files.write_json(tmp_path / "a.json", {"x": [1]})
    assert files.read_json(tmp_path / "a.json") == {"x": [1]}
    (tmp_path / "b.json").write_text("{")
    for name in ("b.json", "absent.json"):
        with pytest.raises(UserError, match=f"{name} cannot be read as JSON"):
            files.read_json(tmp_path / name)


def test_a_torn_last_line_is_cut_off_the_journal(tmp_path):
    path = tmp_path / "journal.jsonl"
    assert files.read_journal(path) == [] and not path.exists()
    path.write_text('{"n":1}\n{"n":2}\n{"n":3')
    assert files.read_journal(path) == [{"n": 1}, {"n": 2}]
    with open(path, "a") as handle:
        handle.write('{"n":4}\n')
    assert files.read_journal(path) == [{"n": 1}, {"n": 2}, {"n": 4}]
    path.write_text('{"n":')
    assert files.read_journal(path) == [] and path.read_bytes() == b""


def test_arrays_come_back_and_damaged_ones_are_set_aside(tmp_path, capsys):
    path = tmp_path / "x.safetensors"
    tensors = {"a": torch.randn(2, 3).T, "b": torch.arange(3)}
    files.save_arrays(path, tensors, {"n": 1})
    found = files.load_arrays(path)
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert files.file_digest(path) == files.checksum_path(path).read_text().strip()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert files.load_arrays(path) is None and f"damaged: {path}" in capsys.readouterr().out
    assert (tmp_path / "x.safetensors.damaged").exists() and files.load_arrays(path) is None
    files.save_arrays(path, tensors)
    files.checksum_path(path).unlink()  # a kill between the two writes
    assert files.load_arrays(path) is None and path.exists()


def test_a_damaged_file_that_another_process_sets_aside_meanwhile_is_absent(
    tmp_path, monkeypatch, capsys
):
    path, real = tmp_path / "x.safetensors", files.read_checksum
    files.save_arrays(path, {"a": torch.zeros(3)})
    path.write_bytes(path.read_bytes()[:-1] + b"x")

    def other_is_first(checksum):
        told = real(checksum)
        files.set_aside(path)
        return told

    monkeypatch.setattr(files, "read_checksum", other_is_first)
    assert files.load_arrays(path) is None and (tmp_path / "x.safetensors.damaged").exists()
    assert capsys.readouterr().out.count("damaged: ") == 1
    files.checksum_path(path).touch()  # of the two it is taken away last
    assert files.load_arrays(path) is None


def test_a_lock_is_waited_for_no_longer_than_said(tmp_path):
    with files.lock(tmp_path / "lock"), pytest.raises(Timeout), files.lock(tmp_path / "lock", 0.05):
        pass


@pytest.mark.parametrize("data", ["[" * 100_000, '{"a": ' * 50_000, "{", "", b"\xff\xfe"])
def test_what_is_no_json_is_a_value_error_however_deep(data):
    with pytest.raises(ValueError):
        files.parse_json(data)


@pytest.mark.parametrize("line", ["5", "null", "[1]", "not json", "[" * 100_000])
def test_a_journals_line_that_is_no_object_is_named(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n' + line + "\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 2: not a JSON object"):
        files.read_journal(path)


def test_a_place_where_nothing_can_be_is_refused(tmp_path):
    files.check_folder(tmp_path / "a/b", "--out")
    files.check_file(tmp_path / "a/b.gif", "--out", (".gif", ".mp4"))
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "x.gif").mkdir()
    for name in ("file/b", "file", "link/b"):
        with pytest.raises(UserError, match=f"--out: .*{name.split('/')[0]} is no folder that may"):
            files.check_folder(tmp_path / name, "--out")
    for name, said in (
        ("x.gif", "is a folder"),
        ("x.txt", r"must end in \.gif or \.mp4"),
        ("", "end"),
    ):
        with pytest.raises(UserError, match=said):
            files.check_file(tmp_path / name, "--out", (".gif", ".mp4"))
    assert len(list(tmp_path.iterdir())) == 3


def test_what_is_no_regular_file_or_too_large_is_not_read(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12")
    assert files.read_bounded(path, 2) == b"12"
    with pytest.raises(OSError, match="more than 1 bytes"):
        files.read_bounded(path, 1)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        for read in (files.read_json, files.read_journal):
            with pytest.raises(UserError, match="it is no regular file"):
                read(tmp_path / name)
        with pytest.raises(OSError, match="it is no regular file"):
            files.file_digest(tmp_path / name)
        files.checksum_path(tmp_path / name).write_text("0" * 64)
        assert files.read_checked(tmp_path / name) is None and not (tmp_path / name).exists()


def test_a_damaged_checksum_file_is_no_checksum(tmp_path):
    files.save_arrays(tmp_path / "x", {})
    files.checksum_path(tmp_path / "x").write_bytes(b"\xff" * 500)
    assert files.read_checked(tmp_path / "x") is None and (tmp_path / "x.damaged").exists()


def test_a_file_that_another_host_removed_is_not_read(tmp_path, monkeypatch):
    """NFS remembers its name for a while, and its content as long as anybody has it open."""
    path = tmp_path / "lease.json"
    path.write_text("{}")
    assert files.read_bounded(path) == b"{}"
    real = os.fstat
    monkeypatch.setattr(
        os, "fstat", lambda file: os.stat_result([*real(file)[:3], 0, *real(file)[4:]])
    )
    with pytest.raises(FileNotFoundError, match="removed"):
        files.read_bounded(path)


def test_a_file_that_is_never_replaced(tmp_path):
    path = tmp_path / "deep" / "result.json"
    assert files.create_json(path, {"n": 1}) and not files.create_json(path, {"n": 2})
    assert files.read_json(path) == {"n": 1}
    assert [entry.name for entry in path.parent.iterdir()] == ["result.json"]
    assert path.stat().st_nlink == 1
