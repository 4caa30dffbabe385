"""Judging a folder of clips made by any model.

    python -m direct.evaluate videophy        --folder F      # clips: F/videos/videophy-000.mp4 ...
    python -m direct.evaluate worldmodelbench --folder F --prompts worldmodelbench.json

Writes the request into the folder, runs `DIRECT_RATER` or says what to run, then writes
F/records.jsonl (a line per prompt) and prints means with their n.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..common.errors import command
from ..common.files import canonical_json, check_folder, write_text
from ..data.benchmarks import PROMPTS
from .judge import RATERS
from .rater import rate


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m direct.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("judge", choices=sorted(RATERS))
    parser.add_argument("--folder", type=Path, required=True, help="holds videos/<prompt id>.mp4")
    parser.add_argument("--prompts", type=Path, help="default: the benchmark's own")
    arguments = parser.parse_args()
    judge = RATERS[arguments.judge]
    check_folder(arguments.folder, "--folder")
    records = rate(judge, PROMPTS[arguments.judge](arguments.prompts), arguments.folder)
    lines = "".join(canonical_json(record) + "\n" for record in records)
    write_text(arguments.folder / "records.jsonl", lines)
    for group, values in judge.summary(records).items():
        columns = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        print(f"{group}: {columns}")


if __name__ == "__main__":
    command(main)
