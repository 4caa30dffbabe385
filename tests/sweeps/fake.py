"""A stand-in for the stages, for tests of the machinery alone: scores are a function of the cell.

As a program it is `python -m sweeps.run` (or, as `fake.py worker`, its worker) with these stages.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np

from direct.common import preempt
from direct.common.files import stable_seed, write_json
from sweeps import cell


class Diverged(Exception):
    pass


def execute(config, cache, run, progress):
    """Three steps of `FAKE_SECONDS`; a failure or divergence where `FAKE_*` names the weight."""
    hard = str(config.loss.lambda_hard)
    with open(cache / "executed.log", "a") as log:
        log.write(run.name + "\n")
    for step in range(3):
        with cell.timed(run, "train"):
            until = time.monotonic() + float(os.environ.get("FAKE_SECONDS", 0)) / 3
            while time.monotonic() < until:  # in short naps: a signal does not end a sleep
                preempt.check()
                time.sleep(0.01)
            progress("train", step + 1, 3)
    if hard == os.environ.get("FAKE_FAIL"):
        raise RuntimeError("made to fail")
    if hard == os.environ.get("FAKE_KILL"):
        os.kill(os.getpid(), 9)
    if hard == os.environ.get("FAKE_DIVERGE"):
        raise Diverged("loss was nan 10 times up to step 17")
    write_json(run / "transformer.json", {"cell": run.name})
    prompts = config.evaluate.prompts
    shared = np.random.default_rng(3).random(prompts)
    rng = np.random.default_rng(stable_seed("fake", run.name))
    gain = 0.05 * np.log10(1 + 100 * config.loss.lambda_hard)
    records = []
    for i in range(prompts):
        sa, pc = np.clip(shared[i] * 0.6 + gain + 0.05 * rng.random(2), 0, 1)
        scores = {
            "SA": sa,
            "PC": pc,
            "AVG": (sa + pc) / 2,
            "PCcap": pc,
            "Instr": 3 * sa,
            "Frame": 1.0,
            "Temp": pc,
            "Mass": sa,
            "Penetr": 1.0,
            "Total": 3 * sa + 2 + pc + sa,
        }
        records.append(
            {
                "prompt": f"p{i:03d}",
                "caption": f"clip {i}",
                "scores": {k: float(v) for k, v in scores.items()},
            }
        )
    return records


def train(config, cache, run):
    """What the ranks but the first do."""
    with open(cache / "ranks.log", "a") as log:
        log.write(f"{run.name} {os.environ['RANK']} of {os.environ['WORLD_SIZE']}\n")


def prepare(left, cache, root, workers, display):
    cache.mkdir(parents=True, exist_ok=True)
    return 0.0


if __name__ == "__main__":
    cell.execute = execute
    weights = {"weights": os.environ.get("FAKE_WEIGHTS", "w0")}
    cell.device, cell.inputs = lambda: "none", lambda config: weights  # the real ones import torch
    from direct.common.errors import command
    from sweeps import run
    from sweeps.queue import pool, rank, worker, workers

    workers.RANK = [__file__, "rank"]
    pool.WORKER = [sys.executable, __file__, "worker"]
    pool.POLL_SECONDS, run.prepare, rank.train = 0.1, prepare, train
    names = sys.argv[2:]
    if sys.argv[1] == "worker":
        if log := os.environ.get("FAKE_WORKERS"):
            with open(log, "a") as started:
                started.write(f"{os.getpid()}\n")
        command(lambda: worker.main(Path(names[0]), Path(names[1]), names[2]))
    elif sys.argv[1] == "rank":
        command(lambda: rank.main(Path(names[0]), Path(names[1]), names[2], int(names[3])))
    else:
        command(run.main)
