"""The command line of `python -m direct.train`: one cell, in one process or under torchrun.

    python -m direct.train --profile tiny
    torchrun --standalone --nproc_per_node 8 -m direct.train --profile wan2.1-t2v-1.3b

It goes on where it was stopped. SIGTERM, SIGUSR1 or SIGUSR2 ask it to save and stop between two
steps; it then ends with status 75, and the same command goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import sys
from pathlib import Path

from ..common.errors import UserError, command
from ..common.files import canonical_json, write_json
from ..common.progress import show_progress
from ..config import Config, identity
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
    cache = options.cache or options.out / "cache" / config.profile
    return _train(config, cache, options.folder, options.out)


def _progress(stage: str, done: int, total: int) -> None:
    """Shows it, and stops where asked to: what is prepared is kept. Training looks for itself."""
    from ..common import preempt

    show_progress(stage, done, total)
    if stage != "train":
        preempt.check()


def _train(config: Config, cache: Path, run: Path | None, out: Path) -> int:
    from ..common import errors, preempt, ranks
    from ..data import source
    from . import loop

    config = source.pinned(config, cache)  # names the curated clips that it is trained on
    run = run or out / "runs" / config.profile / identity(config)
    preempt.listen(signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
    if "WORLD_SIZE" in os.environ:  # torchrun's
        ranks.start()
    try:
        ranks.on_first(lambda: _claim(config, run))
        progress = None if ranks.rank() else _progress
        final = loop.train(config, cache=cache, run=run, progress=progress)
    except preempt.Preempted as stopped:
        print(stopped, file=sys.stderr)
        return STOPPED
    except errors.Diverged as error:
        print(f"error: {error}; see {run / 'metrics.jsonl'}", file=sys.stderr)
        return 1
    finally:
        ranks.stop()
    if not ranks.rank():
        print(final)
    return 0


def _claim(config: Config, run: Path) -> None:
    """Writes down whose folder it is; one of another configuration is refused."""
    path, own = run / "config.json", json.loads(canonical_json(dataclasses.asdict(config)))
    if not path.exists():
        write_json(path, own)
    elif json.loads(path.read_text()) != own:
        raise UserError(f"--folder {run} is of another configuration; give this one its own folder")


if __name__ == "__main__":
    command(main)
