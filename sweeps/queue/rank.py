"""One rank of a cell on several GPUs; `workers.on_several` starts them by torchrun.

All ranks train together, and share the clips that are generated and judged. Rank 0 publishes, under
the worker's lease.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from direct.common import preempt
from direct.common.errors import command
from direct.config import Run

from ..cell import read_config
from ..stages import REAL, Stages
from . import waiting
from .worker import attempt, follow
from .workers import given

PATIENCE_SECONDS = 60.0  # for rank 0 to write down an error that all ranks have


def main(cache: Path, folder: Path, token: str, worker: int, stages: Stages = REAL) -> None:
    """This rank's part of the cell in `folder`, for the worker of that process number."""
    preempt.listen(signal.SIGTERM, signal.SIGUSR1)
    follow(worker)  # torchrun would survive it
    if os.environ["RANK"] == "0":
        attempt(cache, folder, token, stages)
        return
    with suppress(preempt.Preempted):
        try:
            run = Run(read_config(folder), cache, folder, progress=_stop_where_asked)
            for stage in (stages.train, stages.generate, stages.judge):
                stage(run)
        except Exception:
            _wait_for_the_first(folder)  # torchrun ends all ranks when one ends by an error
            raise


def _stop_where_asked(stage: str, done: int, total: int) -> None:
    if stage != "train":  # which agrees with the others, and saves first
        preempt.check()


def _wait_for_the_first(folder: Path) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until and not waiting.ended(folder):
        time.sleep(0.2)


def program() -> None:
    cache, folder, token, worker = given(4)
    main(Path(cache), Path(folder), token, int(worker))


if __name__ == "__main__":
    command(program)
