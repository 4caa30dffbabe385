"""How it is measured: inputs rotate past the caches, implementations take turns, medians count."""

from __future__ import annotations

import contextlib
import ctypes
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

Step = Callable[[dict[str, Tensor]], object]
TURNS = 3  # in each process
CACHE_BYTES = 64 << 20  # above an H100's 50 MB and most processors' last level


def rotation(make: Callable[[int], dict[str, Tensor]], set_bytes: int) -> list[dict[str, Tensor]]:
    """Enough input sets that each is out of the caches when its turn comes again; at most 64."""
    return [make(seed) for seed in range(min(64, max(2, -(-3 * CACHE_BYTES // set_bytes))))]


def seconds(
    steps: dict[str, Step],
    sets: list[dict[str, Tensor]],
    budget: float = 3.0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Times of single calls, each on the next input set, for about `budget` seconds per step.

    On a CPU the steps take turns, so that a neighbour's load falls on all of them alike; `clock` is
    read there alone.
    """
    if sets[0]["v"].is_cuda:
        return {name: _seconds_on_gpu(step, sets, budget) for name, step in steps.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(TURNS):
        for name, step in steps.items():
            for s in sets[:2]:
                step(s)
            mine, calls, spent = times[name], 0, 0.0
            while spent < budget / TURNS or calls < 2:
                s = sets[len(mine) % len(sets)]
                start = clock()
                step(s)
                mine.append(clock() - start)
                calls, spent = calls + 1, spent + mine[-1]
    return times


def keep_memory() -> None:
    """Freed memory stays with the process (glibc's mallopt), as under allocators made for this.

    Else a call's time is, by chance, that of a thousand page faults: up to 8 ms of 12 at B of 8,
    and eager PyTorch, whose temporaries are many, takes 1.4 (B of 1) to 3.3 times (8) as long.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD
        libc.mallopt(-4, 0)  # M_MMAP_MAX


def _seconds_on_gpu(step: Step, sets: list[dict[str, Tensor]], budget: float) -> list[float]:
    """Mean time of a call in one replay of a graph that goes through every set."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for s in sets[:2] * 2:
            step(s)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        for s in sets:
            step(s)
    times: list[float] = []
    spent = 0.0
    while spent < budget or len(times) < 5:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        taken = begin.elapsed_time(end) / 1e3
        spent += taken
        times.append(taken / len(sets))
    return times


def peak_extra_bytes(step: Step, s: dict[str, Tensor]) -> int | None:
    """Memory a call takes at its peak, results included; None where this system cannot tell.

    On a CPU: how far the resident memory rises, whoever allocates. Linux forgets the peak so far on
    request, and the C library hands back what it keeps, which would otherwise be reused unseen. It
    does so for its main arena only: in a thread, or in a process that once ran out of memory, a
    call may find its memory there already, so measure in a process of its own.
    """
    step(s)
    if s["v"].is_cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(s)
        return torch.cuda.max_memory_allocated() - before
    try:
        ctypes.CDLL(None).malloc_trim(0)
        before = _resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM (man 5 proc)
        step(s)
        return max(0, _resident("VmHWM") - before)
    except (AttributeError, OSError):
        return None


def _resident(field: str) -> int:
    """Bytes: VmRSS, the resident memory now, or VmHWM, its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))
