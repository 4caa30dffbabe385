"""Stand-in stages, for tests of the machinery alone: scores are a function of the cell.

As a program it is `python -m sweeps.run` (or, as `fake.py worker`, its worker) with these stages.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from direct.common import preempt
from direct.common.errors import Diverged, command
from direct.common.files import write_json
from direct.common.seed import stable_seed
from sweeps.queue import leases
from sweeps.stages import Stages

if seconds := os.environ.get("FAKE_LEASE"):  # a test does not wait for 150 s
    leases.LEASE_SECONDS, leases.TOUCH_SECONDS = float(seconds), float(seconds) / 10


def prepare(runs):
    runs[0].cache.mkdir(parents=True, exist_ok=True)


def train(run):
    """Three steps of `FAKE_SECONDS`; a failure or divergence where `FAKE_*` names the weight."""
    if os.environ.get("RANK", "0") != "0":
        with open(run.cache / "ranks.log", "a") as log:
            log.write(f"{run.folder.name} {os.environ['RANK']} of {os.environ['WORLD_SIZE']}\n")
        return
    hard = str(run.config.loss.lambda_hard)
    run.cache.mkdir(parents=True, exist_ok=True)
    with open(run.cache / "executed.log", "a") as log:
        log.write(run.folder.name + "\n")
    wait_at_gate(run)
    with alone(run.folder):
        for step in range(3):
            until = time.monotonic() + float(os.environ.get("FAKE_SECONDS", 0)) / 3
            while time.monotonic() < until:  # in short naps: a signal does not end a sleep
                preempt.check()
                time.sleep(0.01)
            run.progress("train", step + 1, 3)
    if hard == os.environ.get("FAKE_FAIL"):
        raise RuntimeError("made to fail")
    if hard == os.environ.get("FAKE_KILL"):
        os.kill(os.getpid(), 9)
    if hard == os.environ.get("FAKE_DIVERGE"):
        raise Diverged(17, "loss was nan 10 times")
    write_json(run.folder / "transformer.json", {"cell": run.folder.name})


def wait_at_gate(run):
    """Until the file that `FAKE_GATE` names lets this cell on: so many of those that began."""
    gate = os.environ.get("FAKE_GATE")
    while gate:
        begun = (run.cache / "executed.log").read_text().split()
        place = len(begun) - begun[::-1].index(run.folder.name)  # of its last beginning
        if Path(gate).exists() and int(Path(gate).read_text() or 0) >= place:
            return
        preempt.check()
        time.sleep(0.01)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Notes in the file that `FAKE_OVERLAPS` names that another process works on this cell."""
    overlaps = os.environ.get("FAKE_OVERLAPS")
    if not overlaps:
        yield
        return
    with open(Path(overlaps).with_name(f"{folder.name}.lock"), "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a kill frees it
        except BlockingIOError:
            with open(overlaps, "a") as log:
                log.write(f"{folder.name}\n")
        yield


def generate(run):
    """There are no clips: `judge` draws their scores."""


def judge(run):
    prompts = run.config.evaluate.prompts
    shared = np.random.default_rng(3).random(prompts)
    rng = np.random.default_rng(stable_seed("fake", run.folder.name))
    gain = 0.05 * np.log10(1 + 100 * run.config.loss.lambda_hard)
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


def measured(run):
    """A gain is measured at noise levels, which stand in the place of prompts."""
    records = judge(run)
    for i, record in enumerate(records):
        if run.config.measure.kind == "gain":
            record["prompt"] = f"t {i / 10:g}"
    return records


STAGES = Stages(
    prepare,
    train,
    generate,
    judge,
    measure=lambda run: train(run) or measured(run),
    inputs=lambda config: {"weights": os.environ.get("FAKE_WEIGHTS", "w0")},
    code=lambda config: {"direct.fake": os.environ.get("FAKE_CODE", "c0")},
    device=lambda: "none",
    gpus=lambda: int(os.environ.get("FAKE_GPUS", 8)),
    ahead=lambda runs: {},
    worker=(sys.executable, __file__, "worker"),
    rank=(__file__, "rank"),
)

if __name__ == "__main__":
    from sweeps import run
    from sweeps.queue import rank, worker

    names = sys.argv[2:]
    if sys.argv[1] == "worker":
        if log := os.environ.get("FAKE_WORKERS"):
            with open(log, "a") as started:
                started.write(f"{os.getpid()}\n")
        command(lambda: worker.main(Path(names[0]), Path(names[1]), names[2], STAGES))
    elif sys.argv[1] == "rank":
        folders = Path(names[0]), Path(names[1])
        command(lambda: rank.main(*folders, names[2], int(names[3]), STAGES))
    else:
        command(lambda: run.main(stages=STAGES))
