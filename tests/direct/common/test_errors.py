"""How a command ends."""

import errno
import os
import socket
import subprocess
import sys

import pytest

from direct.common.errors import Diverged, UserError, command, nearest, no_space
from direct.common.preempt import Preempted

ENDING = """
import atexit, sys, threading, time
from direct.common.errors import UserError, command

def main():
    if sys.argv[1] == "2":
        raise UserError("no such profile")
    print("the result", end="")
    return int(sys.argv[1])

atexit.register(print, ", flushed", end="")
threading.Thread(target=time.sleep, args=(600,)).start()  # Python's finalization waits for it
command(main)
"""


@pytest.mark.parametrize("status", [0, 2, 75])
def test_a_rank_ends_with_its_status_while_a_thread_of_gloo_still_runs(status):
    done = subprocess.run(
        [sys.executable, "-c", ENDING, str(status)],
        env=os.environ | {"WORLD_SIZE": "2"},
        capture_output=True,
        text=True,
        timeout=300,  # less than the thread's
    )
    assert done.returncode == status
    assert done.stdout == ("" if status == 2 else "the result") + ", flushed"
    assert done.stderr == ("error: no such profile\n" if status == 2 else "")


def test_the_nearest_names_or_all_of_them():
    known = ["material", "magnitude", "forces"]
    assert nearest("magnitud", known) == "did you mean magnitude?"
    assert nearest("xyz", known) == "known: forces, magnitude, material"
    assert nearest("lambda_x", ["lambda_a", "lambda_b"]) == "did you mean lambda_b or lambda_a?"


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (UserError("no \x1b[31m such file"), 2, "error: no  [31m such file\n"),
        (UserError("x" * 5000), 2, f"error: {'x' * 1000} ...\n"),
        (Preempted("run again"), 75, "stopped: run again\n"),
        (KeyboardInterrupt(), 130, "interrupted; what is finished is kept;"),
    ],
)
def test_what_a_person_did_ends_in_a_line_and_a_status(monkeypatch, capsys, error, status, said):
    monkeypatch.delenv("WORLD_SIZE", raising=False)

    def main():
        raise error

    with pytest.raises(SystemExit) as end:
        command(main)
    assert end.value.code == status and capsys.readouterr().err.startswith(said)


def renamed(one, other):
    one.touch()
    os.replace(one, other)


def bind(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))  # a path of a socket has at most 108 bytes


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda here: (here / "file").touch() or (here / "file/below").mkdir(), "file stands"),
        (lambda here: here.read_text(), "a folder stands where a file is needed"),
        (lambda here: (here / ("x" * 300)).touch(), "give a shorter name"),
        (lambda here: (here / "absent").read_text(), "check the path"),
        (lambda here: (here / "a").symlink_to("a") or (here / "a").read_text(), "a link stands"),
        (lambda here: renamed(here / "below", here), "{here}: Directory not empty; something else"),
        (
            lambda here: bind(here / "s") or (here / "s").read_bytes(),
            "a socket or a pipe stands there",
        ),
        (lambda here: (here / "b").mkdir() or (here / "b").mkdir(), "something else stands there"),
    ],
)
def test_what_the_system_refuses_names_the_path_and_the_fix(
    monkeypatch, capsys, tmp_path, make, said
):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(SystemExit) as end:
        command(lambda: make(tmp_path))
    told = capsys.readouterr().err
    assert end.value.code == 2 and told.startswith(f"error: {tmp_path}")
    assert said.format(here=tmp_path) in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_also_where_no_path_is(monkeypatch, capsys, number):
    monkeypatch.delenv("WORLD_SIZE", raising=False)

    def main():
        raise OSError(number, os.strerror(number))

    with pytest.raises(SystemExit) as end:
        command(main)
    told = f"error: the disk: {os.strerror(number)}; free some space and run again\n"
    assert end.value.code == 2 and capsys.readouterr().err == told


def test_a_full_disk_is_known_behind_what_was_raised_since():
    assert no_space(OSError(errno.ENOSPC, "full")) and no_space(OSError(errno.EDQUOT, "full"))
    assert no_space(RuntimeError("Error: No space left on device (os error 28)"))
    assert not no_space(None) and not no_space(OSError(errno.EACCES, "denied"))
    for chain in ({}, {"from": None}):
        try:
            try:
                raise OSError(errno.ENOSPC, "full")
            except OSError as error:
                raise RuntimeError("lost the lock") from chain.get("from", error)
        except RuntimeError as error:
            assert no_space(error)


def test_a_value_that_argparse_would_lose_is_refused(monkeypatch, capsys):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    for given, status in (("--profile=--", 2), ("--prompt=a--", 0), ("--", 0)):
        monkeypatch.setattr(sys, "argv", ["program", given])
        with pytest.raises(SystemExit) as end:
            command(lambda: None)
        assert end.value.code == status
    assert capsys.readouterr().err == "error: --profile=--: -- is no value; give another\n"


def test_an_error_without_a_path_keeps_its_traceback():
    def main():
        raise ConnectionResetError("reset")

    with pytest.raises(ConnectionResetError):
        command(main)


def test_a_mistake_of_ours_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        command(lambda: 1 // 0)


@pytest.mark.parametrize(("value", "status"), [(None, 0), (0, 0), (1, 1)])
def test_the_status_is_what_main_returns(monkeypatch, value, status):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(SystemExit) as end:
        command(lambda: value)
    assert end.value.code == status


def test_a_divergence_knows_its_step():
    error = Diverged(7, "non-finite")
    assert (error.step, error.reason, str(error)) == (
        7,
        "non-finite",
        "diverged at step 7: non-finite",
    )
    assert not isinstance(error, UserError), "a result of the cell"


def test_a_name_in_other_letters_is_the_nearest_even_where_it_is_short():
    assert nearest("pc", ["PC", "PCcap", "SA"]) == "did you mean PC?"
