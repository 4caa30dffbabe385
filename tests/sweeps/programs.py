"""The command line on stand-in stages (`fake.py`), as processes of their own."""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

FAKE = [sys.executable, str(Path(__file__).with_name("fake.py")), "lambda_hard"]

SMALL = ["--prompts", "4", "--seeds", "0,1"]


def environment(**more):
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | more


def sweep(out, *arguments, **more):
    return subprocess.run(
        [*FAKE, *SMALL, "--out", str(out), *arguments],
        capture_output=True,
        text=True,
        env=environment(**more),
        timeout=600,
        check=False,
    )


def tables(out):
    return {path.name: path.read_bytes() for path in sorted((out / "reports/tiny").glob("table_*"))}


def stamps(out):
    """Every result's bytes, and when it was written."""
    paths = sorted((out / "runs/tiny").glob("*/result.json"))
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def executed(out):
    """The cells that have begun, in order."""
    log = out / "cache/tiny/executed.log"
    return log.read_text().split() if log.exists() else []


def command(out, *arguments, **more):
    """Any sweep or verb, on four prompts."""
    return subprocess.run(
        [*FAKE[:2], *arguments, "--prompts", "4", "--out", str(out)],
        capture_output=True,
        text=True,
        env=environment(**more),
        timeout=600,
        check=False,
    )


def until(holds, what, *running, seconds=300):
    """Waits until `holds()`, while these processes run or have ended well."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, what
        assert all(process.poll() in (None, 0) for process in running), what
        time.sleep(0.05)


def begun(out):
    """How many cells have begun."""
    return len(executed(out))


def children(process):
    """The numbers of a process's own processes: of a planner, its workers."""
    asked = ["pgrep", "-P", str(process.pid)]
    found = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    return {int(pid) for pid in found.split()}
