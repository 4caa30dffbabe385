"""`kill -9` at random moments of a sweep with two workers, and a comparison of every byte.

    python -m tests.kill_harness                          # 30 kills, stand-in cells, journal
    python -m tests.kill_harness --storage postgresql     # on a server of its own
    python -m tests.kill_harness --real                   # cells of the tiny profile, as they are

An uninterrupted sweep is run first. Then the same sweep elsewhere: every round starts it and, after
a random time, kills the planner, a worker, or both. A last run is left in peace. Status 0: every
cell was published once, no result was lost or changed, and all results and tables have the bytes of
the uninterrupted sweep. Not part of the test suite: it takes minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/sweeps")]

import postgres  # noqa: E402

from sweeps.cell import parse_result  # noqa: E402
from sweeps.queue import storage  # noqa: E402

PROGRAM = {False: [str(ROOT / "tests/sweeps/fake.py")], True: ["-m", "sweeps.run"]}


def main() -> int:
    options = _options()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="kill-") as made, _server(options.storage) as url:
        out = Path(options.out or made)
        whole, killed = out / "whole", out / "killed"
        began = time.monotonic()
        assert _sweep(options, whole, None).wait() == 0, "the uninterrupted sweep failed"
        print(f"uninterrupted: {time.monotonic() - began:.0f} s", flush=True)
        kills: Counter[str] = Counter()
        seen: dict[str, tuple[int, bytes]] = {}
        starts = 1
        while kills.total() < options.kills:
            process = _sweep(options, killed, url)
            finished = _kill(process, rng, options, kills)
            _check(killed, seen)
            if finished and kills.total() < options.kills:
                _start_over(killed, seen)  # all done before all kills: the same again, from nothing
                starts += 1
        assert _sweep(options, killed, url).wait() == 0, "the last run failed"
        _check(killed, seen)
        return _compare(whole, killed, url, options.sweep, kills, starts)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.kill_harness",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--kills", type=int, default=30)
    add("--storage", choices=["journal", "postgresql"], default="journal")
    add("--real", action="store_true", help="the tiny profile's own cells")
    add("--sweep", default="lambda_hard")
    add("--prompts", default="4")
    add("--seeds", default="0,1")
    add("--seconds", default="2", help="of a stand-in cell")
    add("--within", type=float, default=8.0, help="a kill comes within so many seconds")
    add("--seed", type=int, default=0, help="of the moments")
    add("--set", action="append", default=[], help="as for sweeps.run")
    add("--out", help="keep everything here")
    return parser.parse_args()


def _server(kind: str) -> Any:
    if kind == "journal":
        return nullcontext()
    if reason := postgres.missing():
        sys.exit(reason)

    @contextmanager
    def url() -> Iterator[str]:
        with postgres.server() as running:
            yield running.url

    return url()


def _sweep(options: argparse.Namespace, out: Path, url: str | None) -> subprocess.Popen[bytes]:
    out.mkdir(parents=True, exist_ok=True)
    surroundings = os.environ | {"PYTHONPATH": str(ROOT), "FAKE_SECONDS": options.seconds}
    surroundings |= {"OMP_NUM_THREADS": "1"} | ({storage.VARIABLE: url} if url else {})
    settings = [part for setting in options.set for part in ("--set", setting)]
    with open(out / "harness.log", "ab") as log:
        return subprocess.Popen(
            [
                sys.executable,
                *PROGRAM[options.real],
                options.sweep,
                "--prompts",
                options.prompts,
                "--seeds",
                options.seeds,
                "--workers",
                "2",
                "--out",
                str(out),
                *settings,
            ],
            env=surroundings,
            cwd=ROOT,
            stdout=log,
            stderr=log,
        )


def _kill(
    process: subprocess.Popen[bytes],
    rng: random.Random,
    options: argparse.Namespace,
    kills: Counter[str],
) -> bool:
    """Kills workers, and at last the planner; true if the sweep finished before that."""
    while kills.total() < options.kills:
        if rng.random() < 0.8:  # mostly not while it only imports: nothing is under way yet
            while not _children(process.pid) and process.poll() is None:
                time.sleep(0.02)
        until = time.monotonic() + options.within * rng.random()
        while time.monotonic() < until and process.poll() is None:
            time.sleep(0.01)
        if process.poll() is not None:  # by itself: done, or one cell's worker was killed thrice
            return process.returncode == 0
        what = rng.choice(["planner", "worker", "worker", "both"])
        workers = _children(process.pid)
        if what == "worker" and not workers:
            what = "planner"
        if what != "planner" and workers:
            with suppress(ProcessLookupError):
                os.kill(rng.choice(workers), signal.SIGKILL)
        kills[what] += 1
        if what != "worker":
            process.kill()
            process.wait()
            return False
    process.kill()
    process.wait()
    return False


def _children(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def _check(out: Path, seen: dict[str, tuple[int, bytes]]) -> None:
    """Every result is whole, and none that was there before is lost or written again."""
    now = _stamps(out)
    broken = [name for name, (_, data) in now.items() if parse_result(data, name) is None]
    assert not broken, f"half-written: {broken}"
    assert seen.items() <= now.items(), "a result is lost, changed, or was published twice"
    seen.update(now)


def _stamps(out: Path) -> dict[str, tuple[int, bytes]]:
    """Each result, and when it was written."""
    paths = sorted(out.glob("runs/*/*/result.json"))
    return {path.parent.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}


def _results(out: Path) -> dict[str, bytes]:
    return {name: data for name, (_, data) in _stamps(out).items()}


def _start_over(out: Path, seen: dict[str, tuple[int, bytes]]) -> None:
    """Removes the results, but not the study: it is then ahead of the run folders."""
    for path in out.glob("runs/*/*/result.json"):
        path.unlink()
    for pattern in ("transformer", "samples.safetensors", "samples.safetensors.sha256"):
        for path in out.glob(f"runs/*/*/{pattern}"):
            subprocess.run(["rm", "-r", str(path)], check=True)
    print(f"all {len(seen)} cells were done between kills; again from nothing", flush=True)
    seen.clear()


def _compare(
    whole: Path, killed: Path, url: str | None, sweep: str, kills: Counter[str], starts: int
) -> int:
    results, tables = _results(whole), _tables(whole)
    root = next(killed.glob("runs/*"))
    trials = storage.open_study(root, sweep, url).get_trials(deepcopy=False)
    shown = Counter(trial.user_attrs["cell"] for trial in trials)
    checks = {
        "results are those of the uninterrupted sweep": _results(killed) == results,
        "tables are, byte for byte": _tables(killed) == tables and bool(tables),
        "the study shows every cell once": shown == Counter(list(results)),
        "no lease is left": not list(killed.glob("runs/*/*/lease.json")),
    }
    print(
        json.dumps(
            {
                "kills": kills.total(),
                **kills,
                "starts": starts,
                "cells": len(results),
                "trials": len(trials),
                "tables": len(tables),
            }
        )
    )
    for name, holds in checks.items():
        print(f"{'yes' if holds else 'NO '}  {name}")
    return 0 if all(checks.values()) else 1


def _tables(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.glob("reports/**/table_*"))}


if __name__ == "__main__":
    sys.exit(main())
