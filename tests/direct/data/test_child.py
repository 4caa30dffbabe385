"""Decoding in a process of its own: what goes wrong there ends neither us nor the next file."""

from __future__ import annotations

import os
import time

import pytest
from small_video import encoded

from direct.data import video
from direct.data.child import Child
from direct.data.decode import Unreadable


def crash():
    os.kill(os.getpid(), 11)


def starve():
    raise MemoryError


def fail(passing):
    raise Unreadable("no good", passing)


@pytest.mark.slow
def test_a_crash_or_a_hang_leaves_the_parent_and_the_next_file_and_may_pass(tmp_path):
    (tmp_path / "a.mp4").write_bytes(encoded(3))
    with Child() as child:
        for said, seconds, call in (
            ("exit status -11", 600, (crash,)),
            (r"more than 0\.2 s", 0.2, (time.sleep, 600)),
            ("MemoryError", 600, (starve,)),
            ("no good", 600, (fail, True)),
            ("No such file", 600, (video.probe, tmp_path / "b.mp4")),
        ):
            with pytest.raises(Unreadable, match=said) as error:
                child.call(*call, seconds=seconds)
            assert error.value.passing
        assert child.call(video.probe, tmp_path / "a.mp4", seconds=600)["frames"] == 3
        with pytest.raises(Unreadable, match="no good") as error:
            child.call(fail, False, seconds=600)
        assert not error.value.passing, "the function itself found damage"


THEIRS = """
import multiprocessing, sys
from pathlib import Path

if multiprocessing.parent_process():
    Path(__file__).with_suffix(".up").touch()

def modules():
    return set(sys.modules)
"""


def test_the_clock_starts_when_all_is_imported(tmp_path, monkeypatch):
    """On a busy machine PyAV alone may take longer than a clip."""
    (tmp_path / "their_module.py").write_text(THEIRS)
    monkeypatch.syspath_prepend(tmp_path)
    import their_module

    with Child() as child:
        child._start(their_module.modules)
        assert (tmp_path / "their_module.up").exists()
        assert "av" in child.call(their_module.modules, seconds=600)
