"""Each part in a process of its own, ended where its time is over; what it finds is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import journal
from .parts import Part
from .place import NotHere, Place, Record

START = 8  # seconds under which no part is begun
PATIENCE = 10  # from the signal to the kill: a sweep stops its workers
# A rehearsal compiles nothing with inductor: minutes of a CPU, and code that no GPU runs.
REHEARSAL = {"TRITON_INTERPRET": "1", "TORCHDYNAMO_DISABLE": "1", "OMP_NUM_THREADS": "1"}


def run_all(
    parts: Mapping[str, Part], lines: Path, state: str, place: Place, minutes: float
) -> None:
    """Runs what has no result of this `state` yet, for at most so many minutes in all."""
    deadline = time.monotonic() + 60 * minutes
    for name, part in parts.items():
        if journal.end_of(journal.attempts(lines, state).get(name, [])) == "done":
            print(f"{name}: done before")
            continue
        left = deadline - time.monotonic()
        if left < START:
            print(f"{name}: no time left")
            continue
        limit = left if place.rehearse else min(left, part.seconds)
        journal.append(lines, {"part": name, "state": state, "begin": True})
        taken = _in_process(name, lines, state, place, limit)
        records = journal.attempts(lines, state)[name]
        if journal.end_of(records) == "interrupted":
            end = "timed out" if taken >= limit else "failed"
            said = f"after {taken:.0f} s" if taken >= limit else "the process died"
            append(lines, name, state, {"end": end, "said": said, "seconds": taken})
        print(f"{name}: {journal.end_of(journal.attempts(lines, state)[name])}, {taken:.0f} s")


def _in_process(name: str, lines: Path, state: str, place: Place, limit: float) -> float:
    """Seconds that it took; a whole group is ended where they are over, workers included."""
    command = [sys.executable, "-m", "benchmarks.accept", "--part", name, "--state", state]
    command += ["--out", str(lines.parent), "--journal", lines.name]
    command += ["--rehearse"] if place.rehearse else []
    environment = os.environ | (REHEARSAL if place.rehearse else {})
    start = time.monotonic()
    process = subprocess.Popen(
        command, cwd=journal.ROOT, env=environment, start_new_session=True, stdout=2
    )
    try:
        process.wait(limit)
    except subprocess.TimeoutExpired:
        end_group(process, signal.SIGTERM)
    except BaseException:  # Ctrl-C: the child has a session of its own and hears nothing of it
        end_group(process, signal.SIGTERM)
        raise
    return time.monotonic() - start


def end_group(process: subprocess.Popen, first: signal.Signals) -> None:
    os.killpg(process.pid, first)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run_part(name: str, part: Part, lines: Path, state: str, place: Place) -> None:
    """In the part's own process: each record as soon as it is there, and how it ended."""
    start = time.monotonic()
    end: Record = {"end": "done", "said": ""}
    try:
        for record in part.run(place):
            append(lines, name, state, record)
    except NotHere as reason:
        end = {"end": "not here", "said": str(reason)}
    except Exception as error:
        traceback.print_exc()
        end = {"end": "failed", "said": f"{type(error).__name__}: {str(error)[:500]}"}
    append(lines, name, state, end | {"seconds": time.monotonic() - start})


def append(lines: Path, name: str, state: str, record: Record) -> None:
    journal.append(lines, {"part": name, "state": state} | record)


def named(parts: Mapping[str, Part], chosen: Sequence[str]) -> dict[str, Part]:
    return {name: part for name, part in parts.items() if not chosen or name in chosen}
