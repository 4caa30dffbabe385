"""The command line of `python -m direct.prepare`: the steps that turn WISA-80K into training data.

Each step resumes where it was cut short. `python -m direct.prepare STEP --help` lists its options.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .files import canonical_json


def prepare() -> None:
    parser = argparse.ArgumentParser(prog="python -m direct.prepare", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    step = steps.add_parser("curate", help="choose clips: 81 or more frames, 16:9, a known law")
    step.add_argument("--wisa", type=Path, required=True, help="wisa-80k.json and the mp4 files")
    step.add_argument("--out", type=Path, required=True, help="for manifest.jsonl and report.json")
    step.add_argument("--workers", type=int, default=1, help="clips decoded at a time")
    step.set_defaults(run=_curate)
    arguments = parser.parse_args()
    arguments.run(arguments)


def _curate(arguments: argparse.Namespace) -> None:
    from .data import wisa

    report = wisa.curate(arguments.wisa, arguments.out, arguments.workers, progress=_tell)
    print(canonical_json(report, indent=1))


def _tell(stage: str, done: int, total: int) -> None:
    end = "\n" if done == total else ""
    print(f"\r{stage} {done}/{total}", end=end, file=sys.stderr, flush=True)
