"""A case that hangs is named with its input, wherever it hangs."""

import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from . import harness
from .harness import Hangs, attacked, cases

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
    ended = subprocess.run(command, cwd=tmp_path, env=surroundings, check=False, timeout=120)
    said = (tmp_path / "build/note.txt").read_text()
    assert ended.returncode == 1 and "hangs on" in said and "'an input'" in said
    assert "Timeout" in said and "in hangs" in said, "and where"
