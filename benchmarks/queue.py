"""What the queue and the report take of a large study: stand-in cells, so nothing else is timed.

    python -m benchmarks.queue                                    # 10,000 cells, 16 workers
    python -m benchmarks.queue --storage postgresql://me@host/db  # its study on a server

Prints one line per measurement with what is asked of it. Close other work first.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from direct.common.errors import command
from direct.common.seed import stable_seed
from direct.config import Run
from sweeps import run
from sweeps.queue import worker
from sweeps.stages import Record, Stages

from .options import number

NAME = "study"
SEEDS, WORKERS = 1000, 1000  # at most
AXES = 10  # values of each of both settings
METRICS = "SA", "PC", "AVG"


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument(
        "--seeds", type=number(SEEDS), default=100, metavar="N", help="of 100 rows each"
    )
    parser.add_argument(
        "--workers", type=number(WORKERS), default=16, metavar="N", help="processes"
    )
    parser.add_argument("--storage", metavar="URL", help="of the study; default: a journal")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        study(Path(folder), options)


def study(out: Path, options: argparse.Namespace) -> None:
    cells = AXES * AXES * options.seeds
    arguments = [*_grid("loss.lambda_rand"), *_grid("loss.lambda_hard")]
    arguments += ["--seeds", ",".join(map(str, range(options.seeds)))]
    arguments += ["--name", NAME, "--out", str(out), "--workers", str(options.workers)]
    arguments += ["--storage", options.storage] if options.storage else []
    start = time.time()
    if run.main(arguments, STAGES):
        raise SystemExit("cells have failed")
    begun = [line.split() for line in _log(out / "cache" / "tiny").read_text().splitlines()]
    when = sorted(float(stamp) for _, stamp in begun)
    most = max(Counter(name for name, _ in begun).values())
    print(f"{cells:,} cells planned, first one begun, after {when[0] - start:.1f} s (10 asked)")
    rate = (len(when) - 1) / (when[-1] - when[0])
    print(
        f"{rate:,.0f} cells a second claimed and ended by {options.workers} workers (50 asked), "
        f"{len({name for name, _ in begun}):,} of them, each at most {most} times (1 asked)"
    )
    start = time.time()
    run.main(["report", NAME, "--out", str(out)], STAGES)
    print(f"their table written again in {time.time() - start:.1f} s (60 asked)")


def _grid(setting: str) -> list[str]:
    return ["--grid", f"{setting}={','.join(f'{0.01 * i:.2f}' for i in range(1, AXES + 1))}"]


def _log(cache: Path) -> Path:
    return cache / "begun.log"


# Stand-ins for the work --------------------------------------------------------------------------


def _prepare(runs: Sequence[Run]) -> None:
    runs[0].cache.mkdir(parents=True, exist_ok=True)


def _train(run: Run) -> None:
    with open(_log(run.cache), "a") as log:
        log.write(f"{run.folder.name} {time.time()}\n")


def _judge(run: Run) -> list[Record]:
    rng = np.random.default_rng(stable_seed("study", run.folder.name))
    scores = rng.random((run.config.evaluate.prompts, len(METRICS)))
    return [
        {
            "prompt": f"p{i:03d}",
            "caption": f"clip {i}",
            "scores": dict(zip(METRICS, own, strict=True)),
        }
        for i, own in enumerate(scores.tolist())
    ]


STAGES = Stages(
    prepare=_prepare,
    train=_train,
    generate=lambda run: None,
    judge=_judge,
    measure=_judge,
    inputs=lambda config: {"weights": "stand-in"},
    code=lambda config: {"benchmarks.queue": "stand-in"},
    device=lambda: "none",
    gpus=lambda: 0,
    ahead=lambda runs: {},
    worker=(sys.executable, "-m", "benchmarks.queue", "worker"),
)

if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        root, cache, name = sys.argv[2:]
        command(lambda: worker.main(Path(root), Path(cache), name, STAGES))
    else:
        command(main)
