"""A worker process: what it tells its planner, and how it ends with it."""

import os
import subprocess
import sys

from direct.common.text import plain
from sweeps.queue import pool


def test_a_worker_whose_planner_is_gone_ends_and_fails_no_cell(tmp_path):
    code = (
        "from sweeps.queue import worker\n"
        "try: worker.send(event='progress')\nexcept Exception: print('raised', flush=True)"
    )
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert ended.returncode == 1 and ended.stderr == b""


def test_terminal_control_is_not_obeyed():
    assert "\x1b" not in plain("\x1b[2J\u202ehidden") and pool.MARK not in plain("\x1e{}")
