"""How a command ends."""

import os
import subprocess
import sys

import pytest

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
        timeout=60,
    )
    assert done.returncode == status
    assert done.stdout == ("" if status == 2 else "the result") + ", flushed"
    assert done.stderr == ("error: no such profile\n" if status == 2 else "")
