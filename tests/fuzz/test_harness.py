"""A case that hangs is named with its input, wherever it hangs."""

import gc
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from . import harness
from .harness import Hangs, attacked, cases, faults

IN_C = """
import itertools
from pathlib import Path
from hypothesis import given, strategies as st
from tests.fuzz import harness
harness.KILLS, harness.NOTE = 1.0, Path("build/note.txt")

@harness.cases(3)
@given(st.sampled_from(["an input"]))
def hangs(text):
    max(itertools.repeat(text))  # no signal ends it

hangs()
"""


def test_a_case_that_hangs_is_named_with_its_input(tmp_path):
    """At once: hypothesis does not look for a shorter one, which would hang as long."""
    tried = []

    @cases(20)
    @given(st.text(min_size=1))
    def run(text):
        tried.append(text)
        attacked(lambda: [None for _ in iter(int, 1)], [], tmp_path)

    with mock.patch.object(harness, "HANGS", 0.2), pytest.raises(Hangs, match="no end") as error:
        run()
    assert len(tried) == 1 and repr(tried[0]) in str(error.value)
    assert not harness.NOTE.exists()


def test_a_case_that_hangs_where_no_signal_is_heard_leaves_its_input(tmp_path):
    root = str(Path(__file__).resolve().parents[2])
    command, surroundings = [sys.executable, "-c", IN_C], os.environ | {"PYTHONPATH": root}
    ended = subprocess.run(command, cwd=tmp_path, env=surroundings, check=False, timeout=600)
    said = (tmp_path / "build/note.txt").read_text()
    assert ended.returncode == 1 and "hangs on" in said and "'an input'" in said
    assert "Timeout" in said and "in hangs" in said, "and where"


def test_what_earlier_tests_left_is_no_fault_of_a_case(tmp_path):
    """A thread that still runs, and garbage whose end removes a folder."""
    begun, changed = threading.Event(), threading.Event()

    def earlier():
        begun.wait(120)
        (tmp_path / "elsewhere").touch()
        changed.set()

    thread = threading.Thread(target=earlier)
    thread.start()
    left: list = [tempfile.TemporaryDirectory(dir=tmp_path)]
    left.append(left)
    del left

    def case():
        begun.set()
        assert changed.wait(120)
        gc.collect()

    found = attacked(case, [], tmp_path / "out")
    thread.join()
    assert found.status == 0 and not faults(found)


def test_what_a_case_starts_is_seen(tmp_path):
    def case():
        thread = threading.Thread(target=(tmp_path / "elsewhere").touch)
        thread.start()
        thread.join()

    assert "elsewhere" in faults(attacked(case, [], tmp_path / "out"))[0]
