"""Storages: a torn journal is mended, a server that does not answer is one sentence."""

import errno
import json
import os
import socket
import sys
from contextlib import closing

import pytest
from queued import CELLS, TABLE, drain

from direct.common.errors import UserError
from sweeps.queue import dashboard, storage, waiting


def shown(root):
    """The journal's study of a sweep whose cells have all ended."""
    study = storage.open_study(root, "s")
    dashboard.add(study, TABLE, CELLS, root)
    return study.trials


@pytest.fixture
def ended(tmp_path):
    waiting.plan(tmp_path, "s", CELLS)
    drain(tmp_path)
    assert len(shown(tmp_path)) == len(CELLS)
    return tmp_path


def test_a_torn_journal_is_set_aside_and_rebuilt(ended):
    """Optuna would append to the torn line."""
    with open(storage.journal(ended), "ab") as out:
        out.write(b'{"op_code": 4, "worker')
    assert "set aside and rebuilt" in storage.repair(ended)
    assert len(shown(ended)) == len(CELLS) and storage.repair(ended) is None


@pytest.mark.parametrize("line", [b'{"op_code": 4, "worker\n', b"{\n"])
def test_a_last_line_that_is_whole_and_no_json_is_no_better(ended, line):
    """Optuna takes it, and stops at the line that is written after it."""
    with open(storage.journal(ended), "ab") as out:
        out.write(line)
    assert "set aside and rebuilt" in storage.repair(ended)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_not_taken_for_a_damaged_journal(tmp_path, monkeypatch, number):
    """A full disk tears lines: the journal stays, and the disk is what is said."""
    path = storage.journal(tmp_path)
    path.write_bytes(b'{"op_code": 0}\nnot json\n{"op_code": 1}\n')
    before = path.read_bytes()

    def full(*arguments, **more):
        raise OSError(number, "full")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="no space left to write"):
        storage.repair(tmp_path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_the_cause_of_an_error_of_optunas_is_what_is_said():
    """Its lock raises another error over the full disk's."""
    try:
        try:
            raise OSError(errno.ENOSPC, "full")
        except OSError:
            raise RuntimeError("Error: did not possess lock") from None
    except RuntimeError as error:
        assert storage.problem(error) == "no space is left for the journal"


def test_a_journal_that_is_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(storage.journal(tmp_path))
    with pytest.raises(UserError, match="no regular file"):
        storage.repair(tmp_path)


def test_an_unreadable_journal_is_set_aside(tmp_path):
    path = storage.journal(tmp_path)
    path.write_bytes(b'{"op_code": 0}\nnot json\n{"op_code": 1}\n')
    assert "damaged" in storage.repair(tmp_path)
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
def test_a_line_that_is_json_and_no_record_sets_the_journal_aside(ended, line):
    with open(storage.journal(ended), "a") as out:
        out.write(line + "\n")
    assert "set aside and rebuilt" in storage.repair(ended)
    assert len(shown(ended)) == len(CELLS)


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


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (StorageInternalError("no route"), "the storage does not answer (no route)"),
        (OSError(errno.ENOSPC, "full"), "no space is left for the journal"),
        (OSError(errno.EDQUOT, "full"), "no space is left for the journal"),
        (json.JSONDecodeError("bad", "{", 0), "the journal is damaged (bad: line 1 column 1"),
        (UserError("the storage postgresql://h/d does not answer"), "the storage postgresql://h/d"),
    ],
)
def test_what_keeps_a_study_from_being_written_has_words(error, words):
    assert storage.problem(error).startswith(words)


def test_another_error_is_raised_again():
    with pytest.raises(ZeroDivisionError):
        storage.problem(ZeroDivisionError())


def test_an_empty_or_absent_journal_needs_no_repair(tmp_path):
    assert storage.repair(tmp_path) is None
    storage.journal(tmp_path).touch()
    assert storage.repair(tmp_path) is None
