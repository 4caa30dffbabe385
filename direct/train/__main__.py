"""The command line of `python -m direct.train`: one cell, in one process or under torchrun.

    python -m direct.train --profile tiny
    torchrun --standalone --nproc_per_node 8 -m direct.train --profile wan2.1-t2v-1.3b

It resumes where it was stopped. SIGTERM, SIGUSR1 or SIGUSR2 ask it to save and stop between two
steps; it then ends with status 75, and the same command resumes.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from dataclasses import asdict, replace
from pathlib import Path

from ..common import preempt
from ..common.errors import Diverged, UserError, command
from ..common.files import check_folder, read_json, write_json
from ..common.progress import show_progress, silent
from ..config import Run
from ..data import source
from ..identity import identity, restored
from ..profiles import profile
from ..settings import override

STOPPED = 75  # EX_TEMPFAIL of sysexits.h: run it again


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m direct.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--profile", default="tiny", help="as wan2.1-t2v-1.3b (default: tiny)")
    parser.add_argument("--set", action="append", default=[], help="as loss.lambda_hard=0.05")
    parser.add_argument("--out", type=Path, default=Path(), help="holds runs/ and cache/")
    parser.add_argument("--cache", type=Path, help="default: OUT/cache/PROFILE")
    parser.add_argument("--folder", type=Path, help="default: OUT/runs/PROFILE/<the cell's id>")
    options = parser.parse_args()
    config = override(profile(options.profile), *options.set)
    for place, option in ((options.out, "--out"), (options.cache, "--cache")):
        if place is not None:
            check_folder(place, option)
    cache = options.cache or options.out / "cache" / config.profile
    config = source.pinned(Run(config, cache))  # names the curated clips that it is trained on
    folder = options.folder or options.out / "runs" / config.profile / identity(config)
    check_folder(folder, "--folder")
    return _train(Run(config, cache, folder, progress=_progress))


def _progress(stage: str, done: int, total: int) -> None:
    """Shows it, and stops where asked to: what is prepared is kept. Training looks for itself."""
    show_progress(stage, done, total)
    if stage != "train":
        preempt.check()


def _train(run: Run) -> int:
    from ..common import ranks
    from ..loss.checks import check_backend
    from . import loop

    check_backend(run.config.loss.backend)
    preempt.listen(signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
    if "WORLD_SIZE" in os.environ:  # torchrun's
        ranks.start()
    try:
        first = not ranks.rank()  # after `stop` every rank is its own first
        ranks.on_first(lambda: _claim(run))
        final = loop.train(run if first else replace(run, progress=silent))
    except preempt.Preempted as stopped:
        print(stopped, file=sys.stderr)
        return STOPPED
    except Diverged as error:
        print(f"error: {error}; see {run.folder / 'metrics.jsonl'}", file=sys.stderr)
        return 1
    finally:
        ranks.stop()
    if first:
        print(final)
    return 0


def _claim(run: Run) -> None:
    """Writes down whose folder it is; one of another configuration is refused."""
    path = run.folder / "config.json"
    if not path.exists():
        write_json(path, asdict(run.config))
        return
    try:
        known = identity(restored(read_json(path)))
    except (TypeError, KeyError, AttributeError):
        known = ""
    if known != identity(run.config):
        raise UserError(
            f"--folder {run.folder} belongs to another configuration; use another folder"
        )


if __name__ == "__main__":
    command(main)
