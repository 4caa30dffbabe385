"""Storages: a torn journal is mended, a server that does not answer is one sentence."""

import errno
import json
import socket
import sys
from contextlib import closing

import pytest
from queued import CELLS, TABLE, drain

from direct.common.errors import UserError
from sweeps.queue import storage
from sweeps.queue import study as queue


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(queue, "CLAIM_SECONDS", 0.0)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_not_taken_for_a_damaged_journal(tmp_path, monkeypatch, number):
    """Neither where reading the journal meets it, nor where a line that it tore is found."""
    path = storage.journal(tmp_path)
    path.write_bytes(b'{"op_code": 0}\nnot json\n{"op_code": 1}\n')
    before = path.read_bytes()

    def full(*arguments, **more):
        raise OSError(number, "full")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="no space left to write"):
        storage.repair(path)
    monkeypatch.undo()

    def wrapped(*arguments, **more):
        try:
            full()
        except OSError:
            raise RuntimeError("Error: did not possess lock") from None

    monkeypatch.setattr("optuna.storages.JournalStorage", wrapped)
    with pytest.raises(RuntimeError):
        storage.repair(path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(UserError, match="no space left for the journal"):
        storage.patient(wrapped)()


def test_a_torn_line_is_cut_off_and_work_goes_on(tmp_path):
    study = storage.open_study(tmp_path, "s")
    queue.plan(study, TABLE, CELLS, tmp_path)
    path = storage.journal(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code": 4, "worker')
    assert "torn line" in storage.repair(path)
    assert path.read_bytes() == whole
    assert len(drain(storage.open_study(tmp_path, "s"), tmp_path)) == len(CELLS)
    assert storage.repair(path) is None


def test_a_last_line_that_is_whole_and_no_json_is_cut_off(tmp_path):
    """Optuna takes it, and stops at the line that is written after it."""
    study = storage.open_study(tmp_path, "s")
    queue.plan(study, TABLE, CELLS, tmp_path)
    path = storage.journal(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code": 4, "worker\n')
    assert "torn line" in storage.repair(path) and path.read_bytes() == whole
    path.write_bytes(b"{")
    assert "torn line" in storage.repair(path) and path.read_bytes() == b""
    path.write_bytes(b"{\n")
    assert "torn line" in storage.repair(path) and path.read_bytes() == b""


def test_an_unreadable_journal_is_set_aside(tmp_path):
    path = storage.journal(tmp_path)
    path.write_bytes(b'{"op_code": 0}\nnot json\n{"op_code": 1}\n')
    assert "damaged" in storage.repair(path)
    assert not path.exists() and path.with_name("study.journal.damaged").exists()


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "null",
        "5",
        "[]",
        '"text"',
        '{"op_code": 99, "worker_id": "w"}',
        '{"op_code": 4}',
        "[" * 100_000,
    ],
)
def test_a_line_that_is_json_and_no_record_sets_the_journal_aside(tmp_path, line):
    study = storage.open_study(tmp_path, "s")
    queue.plan(study, TABLE, CELLS, tmp_path)
    path = storage.journal(tmp_path)
    with open(path, "a") as out:
        out.write(line + "\n")
    assert "set aside and rebuilt" in storage.repair(path)
    again = storage.open_study(tmp_path, "s")
    queue.plan(again, TABLE, CELLS, tmp_path)
    assert len(drain(again, tmp_path)) == len(CELLS)


@pytest.mark.slow
def test_a_stale_journal_lock_is_removed_and_said(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "LOCK_GRACE_SECONDS", 3600)  # waiting for it would hang the test
    study = storage.open_study(tmp_path, "s")
    lock = tmp_path / "study.journal.lock"
    lock.touch()
    assert "left by a killed process" in storage.repair(storage.journal(tmp_path))
    assert not lock.exists()
    queue.plan(study, TABLE, CELLS[:1], tmp_path)


@pytest.mark.slow
def test_a_server_that_accepts_and_says_nothing_is_given_up(tmp_path, monkeypatch):
    pytest.importorskip("psycopg")
    monkeypatch.setattr(storage, "CONNECT_SECONDS", 2)
    with closing(socket.create_server(("127.0.0.1", 0))) as mute:
        url = f"postgresql://u@127.0.0.1:{mute.getsockname()[1]}/d"
        with pytest.raises(UserError, match="does not answer"):
            storage.open_study(tmp_path, "s", url)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///a.db",
        "mysql://u@h/d",
        "postgresql:",
        "postgresql://u:secret@h:port/d",
        "study.db",
        "postgresql://u:secret@[h/d",
    ],
)
def test_what_is_no_postgresql_url_is_refused(url):
    with pytest.raises(UserError, match="write postgresql://user@host/database") as error:
        storage.checked_url(url)
    assert "secret" not in str(error.value)


@pytest.mark.slow
def test_without_psycopg_the_fix_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UserError, match="pip install 'psycopg"):
        storage.open_study(tmp_path, "s", "postgresql://u@127.0.0.1:1/d")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://me@host:5432/db", "postgresql://me@host:5432/db"),
        ("postgresql://me:secret@host/db?password=secret", "postgresql://me@host/db"),
        ("postgresql://me:sec:ret@h@st/db", "postgresql://me@st/db"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("study.db", "study.db"),
        ("postgresql://u:secret@[h/d", "(an address that cannot be read)"),
    ],
)
def test_an_address_is_shown_without_its_password(url, expected):
    assert "secret" not in storage.shown(url) and storage.shown(url) == expected


def test_a_password_is_seen_wherever_it_stands():
    assert storage.has_password("postgresql://me:x@h/d")
    assert storage.has_password("postgresql://me@h/d?sslmode=require&password=x")
    assert not storage.has_password("postgresql://me@h/d?sslmode=require")
    for coded in ("p%61ssword=x", "%70%61%73%73%77%6f%72%64=x", "a=b&PASSWORD=x", "sslpassword="):
        assert storage.has_password(f"postgresql://me@h/d?{coded}"), coded


def test_either_name_of_the_scheme_is_taken():
    for scheme in ("postgres", "postgresql"):
        assert storage.checked_url(f"{scheme}://me@h/d") == "postgresql+psycopg://me@h/d"


class StorageInternalError(Exception):
    """As Optuna names what a server's silence raises."""


def failing(times, error):
    left = [times]

    def call():
        if left[0]:
            left[0] -= 1
            raise error
        return "answer"

    return storage.patient(call)


def test_a_silent_server_is_asked_again_and_given_up_in_the_end(monkeypatch, capsys):
    monkeypatch.setattr(storage, "RETRY_SECONDS", 0)
    silent = StorageInternalError("no\x1b route")
    assert failing(3, silent)() == "answer"
    said = capsys.readouterr().out.splitlines()
    assert said == ["the storage does not answer, trying again (no  route)"] * 3
    monkeypatch.setattr(storage, "PATIENCE_SECONDS", -1)
    with pytest.raises(UserError, match=r"has not answered for 0 s .*results are kept"):
        failing(1, silent)()
    monkeypatch.setattr(storage, "PATIENCE_SECONDS", 60)
    monkeypatch.setattr(storage.preempt, "requested", lambda: True)
    with pytest.raises(UserError, match="results are kept"):
        failing(1, silent)()


def test_other_errors_are_not_waited_out(capsys):
    with pytest.raises(ZeroDivisionError):
        failing(1, ZeroDivisionError())()
    with pytest.raises(UserError, match="no space left for the journal"):
        failing(1, OSError(errno.ENOSPC, "full"))()
    with pytest.raises(UserError, match="the journal is damaged"):
        failing(1, json.JSONDecodeError("bad", "{", 0))()
    assert capsys.readouterr().out == ""


def test_an_empty_or_absent_journal_needs_no_repair(tmp_path):
    assert storage.repair(storage.journal(tmp_path)) is None
    storage.journal(tmp_path).touch()
    assert storage.repair(storage.journal(tmp_path)) is None
