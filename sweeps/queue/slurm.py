"""SLURM: one array of identical workers, written as a file for `sbatch`.

A worker owns its allocation and drains the queue in it; there is no scheduler here. Each task helps
the planned sweep (`--join`), saves and gives its cell back before the time limit, and has SLURM
queue it again.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from pathlib import Path

from direct.common.errors import UserError
from direct.common.files import write_text

from ..cell import read_result
from . import pool, storage, waiting
from .status import failures, told
from .sweep import Sweep, Workers
from .workers import SAVE_SECONDS


def slurm(sweep: Sweep, options: argparse.Namespace, name: str) -> int:
    """Plans the sweep, and writes `<root>/<name>.sbatch`: an array of workers for its cells."""
    root, workers, planned = sweep.root, sweep.workers, sweep.cells
    if workers.storage and storage.has_password(workers.storage):
        raise UserError(
            "a job script must not contain a password; put it into ~/.pgpass, and remove "
            f"it from --storage {storage.shown(workers.storage)}"
        )
    with waiting.planner(root):
        pool.plan(sweep)
    failed = failures(planned, root)
    left = {cell.id for cell in planned if not read_result(root / cell.id)} - set(failed)
    if not left:
        print("every other cell has a result" if failed else "every cell has a result", end="; ")
        print("render them with: report")
        return told(failed, sweep.cells)
    path = Path(os.path.abspath(root)) / f"{name}.sbatch"
    if re.search(r"[\s'\"\\]", str(path)):
        raise UserError(f"--out: sbatch cannot take blanks or quotes in {str(path)!r}; use another")
    tasks = len(left) if options.workers is None else min(len(left), workers.count)
    write_text(path, script(options, workers, tasks, root, name))
    print(
        f"{len(left)} cells wait; start {tasks} worker{'s' if tasks > 1 else ''} with: "
        f"sbatch --time=24:00:00 {shlex.quote(str(path))}"
    )
    return told(failed, sweep.cells)


def script(options: argparse.Namespace, workers: Workers, tasks: int, root: Path, name: str) -> str:
    """The sbatch file. Time limit, account and partition are given to sbatch by its caller."""
    command = [
        sys.executable,
        "-m",
        "sweeps.run",
        *([options.sweep] if options.sweep else []),
        "--join",
        "--workers",
        "1",
        "--profile",
        options.profile,
        "--out",
        os.path.abspath(options.out),
    ]
    for option in ("name", "seeds", "prompts", "gpus_per_cell"):
        if (value := getattr(options, option)) is not None:
            command += [f"--{option.replace('_', '-')}", value]
    for option in ("set", "grid"):
        command += [part for value in getattr(options, option) for part in (f"--{option}", value)]
    command += [
        f"--{option.replace('_', '-')}"
        for option in ("paper_rows", "extra", "accept_old")
        if getattr(options, option)
    ]
    gpus = f"#SBATCH --gpus-per-node={workers.gpus}\n" if workers.gpus else ""
    url = f"export {storage.VARIABLE}={shlex.quote(workers.storage)}\n" if workers.storage else ""
    return SCRIPT.format(
        name=name,
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
done
wait "$worker"  # again, since one that a signal ends gives the signal's status
status=$?
if [ "$status" -eq 75 ]; then
    scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID"  # a job id may mean all tasks
fi
exit "$status"
"""
