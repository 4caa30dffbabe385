"""python -m benchmarks.accept: all that is asked of the GPU kernels, on the day a GPU is there.

Every part runs in a process of its own with a time limit, and each result is a line of
<device>_accept.jsonl as soon as it is there. Run again, parts that ended well with the same code
are skipped. At the end <device>_accept.md says what was found and what fell short.

Where no GPU is, or with --rehearse, the same parts run here on small sizes: CUDA's kernels in
tests/csrc/emulation, Triton's in its interpreter, the tiny profile's model. Commit no rehearsal.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import torch

from direct import extension
from direct.common.errors import UserError, command, nearest
from direct.common.files import check_folder, write_text

from .. import report
from ..options import duration
from . import journal, run, summary
from .parts import PARTS
from .place import Place

MINUTES = 9.0


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    rehearse = options.rehearse or not torch.cuda.is_available()
    if rehearse:
        torch.set_num_threads(1)
    folder = options.out or (journal.ROOT / "build/accept" if rehearse else report.RESULTS)
    made = report.machine("cpu" if rehearse else "cuda")
    made |= {"CUDA kernels": extension.cuda_note(), "Triton": _triton()}
    name = made["name"].replace(" ", "_").replace("/", "_")
    lines = folder / (options.journal or f"{name}_accept.jsonl")
    place = Place(rehearse, journal.ROOT / "build/accept/work")
    if options.part:
        run.run_part(options.part, PARTS[options.part], lines, options.state, place)
        return 0
    chosen = [] if options.only is None else options.only.split(";")
    for part in chosen:
        if part not in PARTS:
            raise UserError(f"--only {part!r} is no part; {nearest(part, PARTS)}")
    check_folder(folder, "--out")
    state = journal.state() + ("-rehearsal" if rehearse else "")
    parts = run.named(PARTS, chosen)
    run.run_all(parts, lines, state, place, options.minutes)
    text = summary.markdown(journal.attempts(lines, state), parts, made, state)
    write_text(folder / f"{name}_accept.md", text)
    print(text.split("## Parts")[0] + f"written: {folder / f'{name}_accept.md'}")
    return 0


def _triton() -> str:
    try:
        return metadata.version("triton")
    except metadata.PackageNotFoundError:
        return "absent"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accept",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="parts: " + "; ".join(PARTS),
    )
    add = parser.add_argument
    add("--minutes", type=duration, default=MINUTES, help=f"for all parts together ({MINUTES:g})")
    add("--only", metavar="PART;PART", help="these parts alone")
    add("--rehearse", action="store_true", help="on the CPU, also where a GPU is")
    add("--out", type=Path, help="(benchmarks/results; a rehearsal: build/accept)")
    for internal in ("--part", "--state", "--journal"):  # of a part's own process
        add(internal, default="", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    command(main)
