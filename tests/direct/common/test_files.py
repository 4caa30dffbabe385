"""Files that are whole or absent, one spelling of values, locks."""

from __future__ import annotations

import multiprocessing
import os
import time

import pytest

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
        time.sleep(60)


def test_lock_excludes_and_a_killed_holder_lets_go(tmp_path):
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    holder = context.Process(target=_hold, args=(tmp_path / "lock", ready))
    holder.start()
    assert ready.wait(10)
    import fcntl

    with open(tmp_path / "lock") as handle, pytest.raises(BlockingIOError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.kill(holder.pid, 9)
    with lock(tmp_path / "lock"):
        pass
    holder.join()
