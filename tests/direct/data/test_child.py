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
