"""What work took: seconds, memory and how much it was, a line of `spent.jsonl` beside what it made.

`python -m direct.plan --compare` holds it against the plan. It is no part of any result: where a
line cannot be written, or read again, the work goes on without it.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from . import device
from .files import canonical_json, read_bounded

FILE = "spent.jsonl"
NUMBERS = ("items", "seconds", "processes", "gpu_bytes", "host_bytes")


def usage(processes: int = 1) -> dict[str, Any]:
    """The device, and the most memory that this process has had: of its GPU since `fresh`, main.

    gpu_bytes is what torch has taken, 0 without a GPU; host_bytes is the process's own.
    """
    torch = sys.modules.get("torch")  # without it nothing was on a GPU
    gpu = torch.cuda.max_memory_reserved() if torch and torch.cuda.is_available() else 0
    return {
        "device": device.name(),
        "processes": processes,
        "gpu_bytes": gpu,
        "host_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def fresh() -> None:
    """Forgets the peak of the GPU's memory so far: that of an earlier stage."""
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def note(folder: Path, stage: str, items: int, seconds: float, processes: int = 1) -> None:
    """Adds a line: so many items in so many seconds, by that many processes at a time."""
    line = {"stage": stage, "items": items, "seconds": round(seconds, 4)} | usage(processes)
    with suppress(OSError):
        file = os.open(Path(folder) / FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        with open(file, "ab", buffering=0) as handle:
            handle.write(canonical_json(line).encode() + b"\n")  # one call: many processes write


@contextmanager
def noted(folder: Path, stage: str, items: int, processes: int = 1) -> Iterator[None]:
    """`note` of the block, where it ends without an error."""
    fresh()
    began = time.monotonic()
    yield
    note(folder, stage, items, time.monotonic() - began, processes)


def read(path: Path, items: str = "items") -> list[dict[str, Any]]:
    """The lines of a file that `note` wrote, with every number that it writes; no others.

    items: what the file calls these, where another wrote it with `usage`.
    """
    try:
        text = read_bounded(path).decode("utf-8", "replace")
    except OSError:
        return []
    found = []
    for part in text.splitlines():
        with suppress(ValueError, RecursionError):
            line = json.loads(part)
            line = line | {"items": line.get(items)} if isinstance(line, dict) else None
            if line and all(_is_amount(line.get(name)) for name in NUMBERS):
                found.append(line)
    return found


def _is_amount(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < 1e18
