"""Where a cell's processes come from: torchrun inside an allocation, and SLURM for allocations.

A worker owns its allocation and drains the queue in it; there is no scheduler here. For SLURM one
array of identical workers is written as a file: each task helps the planned sweep (`--join`), saves
and gives its cell back before the time limit, and has SLURM queue it again.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

from direct import preempt
from direct.errors import UserError
from direct.files import write_text

from . import storage
from .cell import read_result
from .listing import failures, told
from .options import Workers
from .schema import Ablation, Cell

GPUS = "SWEEPS_GPUS_PER_CELL"
RANK = ["-m", "sweeps.rank"]  # replaced in tests
SAVE_SECONDS = 300  # from the signal to the time limit: for the checkpoint of a cell


# Several GPUs -------------------------------------------------------------------------------------


def on_several(gpus: int, cache: Path, run: Path, token: str) -> bool:
    """Runs the cell of folder `run` on `gpus` ranks, as `worker.attempt` does on one.

    True if it was asked to stop. Ranks that end without a word end the worker, as a crash does.
    """
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={gpus}",
            f"--shutdown-timeout={SAVE_SECONDS}",
            *RANK,
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
    ended = (run / "result.json").exists() or (run / "failure.json").exists()
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


# SLURM --------------------------------------------------------------------------------------------


def slurm(
    table: Ablation, planned: list[Cell], options: argparse.Namespace, root: Path, workers: Workers
) -> int:
    """Plans the sweep, and writes `<root>/<sweep>.sbatch`: an array of workers for its cells."""
    from . import pool, study

    if workers.storage and storage.has_password(workers.storage):
        raise UserError(
            "a job script is no place for a password; put it into ~/.pgpass, and leave "
            f"it out of --storage {storage.shown(workers.storage)}"
        )
    with study.planner(root):
        pool.plan(table, planned, root, workers)
    failed = failures(planned, root)
    left = {cell.id for cell in planned if not read_result(root / cell.id)} - set(failed)
    if not left:
        print("every other cell has a result" if failed else "every cell has a result", end="; ")
        print("render them with: report")
        return told(failed)
    path = Path(os.path.abspath(root)) / f"{options.sweep}.sbatch"
    if re.search(r"[\s'\"\\]", str(path)):
        raise UserError(f"--out: sbatch cannot take blanks or quotes in {str(path)!r}; use another")
    tasks = len(left) if options.workers is None else min(len(left), workers.count)
    write_text(path, script(options, workers, tasks, root))
    print(
        f"{len(left)} cells wait; start {tasks} worker{'s' if tasks > 1 else ''} with: "
        f"sbatch --time=24:00:00 {shlex.quote(str(path))}"
    )
    return told(failed)


def script(options: argparse.Namespace, workers: Workers, tasks: int, root: Path) -> str:
    """The sbatch file. Time limit, account and partition are given to sbatch by its caller."""
    command = [
        sys.executable,
        "-m",
        "sweeps.run",
        options.sweep,
        "--join",
        "--workers",
        "1",
        "--profile",
        options.profile,
        "--out",
        os.path.abspath(options.out),
    ]
    for name in ("seeds", "prompts", "gpus_per_cell"):
        if (value := getattr(options, name)) is not None:
            command += [f"--{name.replace('_', '-')}", value]
    command += [part for setting in options.set for part in ("--set", setting)]
    command += [
        f"--{name.replace('_', '-')}" for name in ("paper_rows", "extra") if getattr(options, name)
    ]
    gpus = f"#SBATCH --gpus-per-node={workers.gpus}\n" if workers.gpus else ""
    url = f"export {storage.VARIABLE}={shlex.quote(workers.storage)}\n" if workers.storage else ""
    return SCRIPT.format(
        name=options.sweep,
        last=tasks - 1,
        save=SAVE_SECONDS,
        gpus=gpus,
        url=url,
        log=os.path.abspath(root).replace("%", "%%"),
        folder=shlex.quote(os.getcwd()),
        command=shlex.join(command),
    )


SCRIPT = """\
#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --array=0-{last}
#SBATCH --nodes=1
#SBATCH --ntasks=1
{gpus}#SBATCH --requeue
#SBATCH --signal=B:USR1@{save}
#SBATCH --open-mode=append
#SBATCH --output={log}/slurm-%A_%a.log
# Identical workers: each takes cells from the queue until none waits. Before the time limit, and
# when preempted, the worker saves its cell and ends with status 75; then this job queues itself.
cd {folder} || exit 1
{url}{command} &
worker=$!
trap 'kill -USR1 "$worker"' USR1 TERM
while kill -0 "$worker" 2>/dev/null; do
    wait "$worker"
    status=$?
done
if [ "$status" -eq 75 ]; then
    scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID"  # a job id may mean all tasks
fi
exit "$status"
"""
