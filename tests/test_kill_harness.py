"""The harness is a command of its own, outside of pytest, which finds modules by other rules."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_it_starts_as_documented():
    command = [sys.executable, "-m", "tests.kill_harness", "--help"]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == 0 and "--kinds" in done.stdout, done.stderr
