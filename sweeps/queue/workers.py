"""What a worker is started with, its devices, and the ranks of one cell by torchrun."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from direct.common import preempt
from direct.common.errors import UserError

from . import waiting
from .sweep import Sweep

GPUS = "SWEEPS_GPUS_PER_CELL"
ONE_CELL = "SWEEPS_ONE_CELL"  # set: a worker ends after its first cell
SAVE_SECONDS = 300  # from the signal to the time limit: for the checkpoint of a cell


def command(sweep: Sweep) -> list[str]:
    """The worker program of a sweep. The paths are whole: it may start in another folder."""
    folders = (os.path.abspath(folder) for folder in (sweep.root, sweep.cache))
    return [*sweep.stages.worker, *folders, sweep.table.name]


def threads(sweep: Sweep) -> dict[str, str]:
    """The environment that keeps a worker to its cells' threads."""
    wanted = str(cell_threads(sweep))
    return {"OMP_NUM_THREADS": wanted, "MKL_NUM_THREADS": wanted, "PYTHONUNBUFFERED": "1"}


def cell_threads(sweep: Sweep) -> int:
    return max(cell.config.threads for cell in sweep.cells)


def log(sweep: Sweep) -> Path:
    """Where workers' errors go."""
    return sweep.root.absolute() / "workers.log"


def given(count: int) -> list[str]:
    """What a sweep tells a program that it starts; a person who starts one is told how to."""
    if len(sys.argv) != count + 1:
        raise UserError("a sweep starts this program; run one: python -m sweeps.run lambda_hard")
    return sys.argv[1:]


def on_several(gpus: int, rank: Sequence[str], cache: Path, run: Path, token: str) -> bool:
    """Runs the cell of folder `run` on `gpus` ranks of the program `rank`.

    As `worker.attempt` on one: true if it was asked to stop. Where the ranks exit without a result,
    the worker exits too, as after a crash.
    """
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={gpus}",
            f"--shutdown-timeout={SAVE_SECONDS}",
            *rank,
            str(cache),
            str(run),
            token,
            str(os.getpid()),
        ]
    )
    told = False
    while process.poll() is None:
        if preempt.requested() and not told:
            process.send_signal(signal.SIGTERM)  # which torchrun passes on to its ranks
            told = True
        time.sleep(0.2)
    ended = waiting.ended(run)
    if process.returncode and not ended and not told:
        raise UserError(
            f"the ranks of cell {run.name} ended with status {process.returncode}; see workers.log"
        )
    return told and not ended


def devices(slot: int, gpus: int) -> dict[str, str]:
    """The environment of worker number `slot`, which owns `gpus` devices of this process's."""
    if not gpus:
        return {}
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = listed.split(",") if listed else [str(i) for i in range((slot + 1) * gpus)]
    own = names[slot * gpus : (slot + 1) * gpus]
    if len(own) < gpus:
        raise UserError(
            f"worker {slot + 1} with {gpus} GPUs of its own needs {(slot + 1) * gpus}, "
            f"and CUDA_VISIBLE_DEVICES={listed} names {len(names)}; lower --workers"
        )
    return {"CUDA_VISIBLE_DEVICES": ",".join(own), GPUS: str(gpus)}
