"""CUDA graphs, two streams at once, and compute-sanitizer on a small set of launches."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from direct.loss import backends

from .. import cases
from .correct import _equal, _map, _to, inputs, variants
from .place import Kernels, NotHere, Place, Record, kernels

ROUNDS = 30
TOOLS = ("memcheck", "racecheck", "synccheck")
Inputs = dict[str, Tensor]


def _to_gradient(name: str, variant: str) -> Callable[[Inputs], list[Tensor]]:
    """All that `velocity_loss` gives, and the gradient, as a function of one input set."""
    evaluate = cases.evaluation(name, variant == "drawn")

    def step(s: Inputs) -> list[Tensor]:
        v = s["v"].detach().requires_grad_()
        out = evaluate(v, s)
        (gradient,) = torch.autograd.grad(out.loss, v)
        return [tensor.detach() for tensor in (*out, gradient)]

    return step


def _runnable(place: Place) -> list[str]:
    names = ("cpp",) if place.rehearse else ("cuda", "triton")
    return [name for name in names if backends.missing(name) is None]


def _shape(place: Place) -> tuple[int, ...]:
    return (2, 4, 3, 5) if place.rehearse else (4, *cases.PAPER)


def graphs(place: Place) -> Iterator[Record]:
    """One capture, replayed on other inputs: the bits of plain calls. On a CPU: called again."""
    for name in _runnable(place):
        for variant in cases.VARIANTS:
            step = _to_gradient(name, variant)
            static = cases.inputs(_shape(place), place.device)
            replay = _captured(step, static) if place.device == "cuda" else lambda: step(static)  # noqa: B023
            same = True
            for seed in (1, 2, 3):
                new = cases.inputs(_shape(place), place.device, seed)
                for field, tensor in static.items():
                    tensor.copy_(new[field])
                same &= all(map(_equal, replay(), step(new)))
            what = f"{name}: a graph replayed, noises {variant}"
            yield {"what": what, "reading": "same bits", "value": same}


def _captured(step: Callable[[Inputs], list[Tensor]], static: Inputs) -> Callable[[], list[Tensor]]:
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        for _ in range(3):
            step(static)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        results = step(static)

    def replay() -> list[Tensor]:
        graph.replay()
        torch.cuda.synchronize()
        return results

    return replay


def streams(place: Place) -> Iterator[Record]:
    """Two streams, or two threads, each with inputs of its own: the bits of one after another."""
    for name in _runnable(place):
        for variant in cases.VARIANTS:
            step = _to_gradient(name, variant)
            sets = [cases.inputs(_shape(place), place.device, seed) for seed in (1, 2)]
            wanted = [step(s) for s in sets]
            found = _on_two(step, sets, 3 if place.rehearse else ROUNDS)
            same = all(
                all(map(_equal, results, alone))
                for own, alone in zip(found, wanted, strict=True)
                for results in own
            )
            what = f"{name}: two streams at once, noises {variant}"
            yield {"what": what, "reading": "same bits", "value": same}


def _on_two(step: Any, sets: list[Inputs], rounds: int) -> list[list[list[Tensor]]]:
    on_gpu = sets[0]["v"].is_cuda
    own = [torch.cuda.Stream() if on_gpu else None for _ in sets]
    if on_gpu:
        torch.cuda.synchronize()

    def work(n: int) -> list[list[Tensor]]:
        with torch.cuda.stream(own[n]) if on_gpu else nullcontext():
            return [step(sets[n]) for _ in range(rounds)]

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(work, range(2)))
    if on_gpu:
        torch.cuda.synchronize()
    return found


def sanitizer(place: Place) -> Iterator[Record]:
    """compute-sanitizer's tools over `launches`; in a rehearsal, the launches without it."""
    if place.rehearse:
        launches(kernels("triton", place), place.device)
        yield {"what": "a launch, on the CPU", "reading": "agrees", "value": True}
        return
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        raise NotHere("compute-sanitizer is not installed; it comes with the CUDA toolkit")
    # Each tensor an allocation of its own, so that what lies behind it belongs to nobody.
    environment = os.environ | {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    for name in TOOLS:
        command = [tool, f"--tool={name}", sys.executable, "-m", "benchmarks.accept.together"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        said = done.stdout + done.stderr
        errors = re.findall(r"SUMMARY: (\d+)", said)
        value = int(errors[-1]) if errors and not done.returncode else None
        tail = said.strip().splitlines()[-3:]
        yield {"what": name, "reading": "sanitizer errors", "value": value, "said": tail}


def launches(found: Kernels, device: str) -> None:
    """Every variant once, of samples in whole vectors and of odd ones; on a CPU the last alone."""
    for elements, dtype in ((7688, torch.bfloat16), (7681, torch.float32)):
        shape = (2, 24 if device == "cpu" else elements)
        changes = list(variants(shape, dtype))
        for _, change in changes[-1:] if device == "cpu" else changes:
            moved = _map(change(inputs(shape, dtype)), lambda tensor: _to(tensor, device))
            *_, gradient = found.loss(moved)
            found.scale(gradient, torch.tensor(0.5, device=device))
        if found.normal and found.interpolate:
            found.normal(moved.key, elements, 1)
            found.interpolate(moved.x.contiguous(), moved.key, torch.ones(2, device=device))


if __name__ == "__main__":
    launches(kernels("cuda", Place(False, Path())), "cuda")
    torch.cuda.synchronize()
