"""The command line on stand-in stages (`fake.py`), as processes of their own."""

import os
import subprocess
import sys
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
        timeout=300,
        check=False,
    )


def tables(out):
    return {path.name: path.read_bytes() for path in sorted((out / "reports/tiny").glob("table_*"))}


def stamps(out):
    """Every result's bytes, and when it was written."""
    paths = sorted((out / "runs/tiny").glob("*/result.json"))
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def executed(out):
    return (out / "cache/tiny/executed.log").read_text().split()


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
