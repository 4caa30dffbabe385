"""python -m benchmarks.step: what a training step's guard against a v that is not finite costs.

Three forms take turns on the same inputs, each from v to its gradient: the loss alone, whose mask
hides such a v; a term of value 0 beside it, as the trainer had before; and `guarded`, made of the
kernel's own count. Ratios are taken within a process and their median counts, as in
`benchmarks.report`. Writes benchmarks/results/<device>_step.md.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from direct.common.errors import command
from direct.common.files import check_folder, write_text
from direct.loss import VelocityLoss

from . import cases, measure, options, report

BEFORE, NOW, ALONE = "0 * v.float().sum()", "guarded", "no guard"
GUARDS: dict[str, Callable[[VelocityLoss, Tensor], Tensor]] = {
    BEFORE: lambda out, v: out.loss + 0 * v.float().sum(),
    NOW: lambda out, v: out.guarded(),
    ALONE: lambda out, v: out.loss,
}
Found = dict[str, tuple[float, int | None]]  # by guard: median seconds, peak extra bytes


def main() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description=__doc__)
    add = parser.add_argument
    add("--batch", type=options.number(options.BATCHES), default=4, help="of the paper's shape (4)")
    add("--seconds", type=options.duration, default=3.0, help="per form, over all processes (3)")
    processes = options.number(options.PROCESSES)
    add("--processes", type=processes, default=5 if device == "cpu" else 1, help="(5; on a GPU 1)")
    add("--out", type=Path, default=report.RESULTS)
    arguments = parser.parse_args()
    check_folder(arguments.out, "--out")
    shape = (arguments.batch, *cases.PAPER)
    jobs = [(device, shape, arguments.seconds / arguments.processes)] * arguments.processes
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        runs = pool.starmap(measure_all, jobs, chunksize=1)
    made = report.machine(device)
    text = table(runs, made, shape, " ".join(["python -m benchmarks.step", *sys.argv[1:]]))
    name = made["name"].replace(" ", "_").replace("/", "_")
    write_text(arguments.out / f"{name}_step.md", text)
    print(text)


def measure_all(device: str, shape: tuple[int, ...], budget: float) -> dict[str, Found]:
    """What one process finds, by how the negatives come by their noise."""
    moved = cases.bytes_moved(shape, "drawn")
    sets = measure.rotation(lambda seed: cases.inputs(shape, device, seed), moved)
    found: dict[str, Found] = {}
    for variant in cases.VARIANTS:
        evaluate = cases.evaluation("cpp" if device == "cpu" else "cuda", variant == "drawn")
        steps = {name: _to_gradient(evaluate, guard) for name, guard in GUARDS.items()}
        taken = measure.seconds(steps, sets, budget)
        found[variant] = {
            name: (statistics.median(taken[name]), measure.peak_extra_bytes(step, sets[0]))
            for name, step in steps.items()
        }
    return found


def _to_gradient(evaluate: Callable[..., VelocityLoss], guard: Callable[..., Tensor]):
    def step(s: dict[str, Tensor]) -> object:
        v = s["v"].detach().requires_grad_()
        return torch.autograd.grad(guard(evaluate(v, s), v), v)

    return step


def table(
    runs: list[dict[str, Found]], made: dict[str, Any], shape: tuple[int, ...], command: str
) -> str:
    text = [
        f"{made['name']}, {made['threads']} threads, torch {made['torch']}, bf16 {list(shape)}: "
        "loss, guard and backward to v.",
        f"Made by `{command}`. Medians over {len(runs)} processes; in brackets the least and the "
        "greatest.",
        "",
        "| noises of the negatives | guard | ms | of the time before | peak extra MB |",
        "|---|---|---|---|---|",
    ]
    for variant in runs[0]:
        for name in GUARDS:
            seconds = statistics.median(run[variant][name][0] for run in runs)
            ratios = [run[variant][name][0] / run[variant][BEFORE][0] for run in runs]
            peaks = [run[variant][name][1] for run in runs]
            extra = "" if None in peaks else f"{statistics.median(peaks) / 1e6:.1f}"
            text.append(
                f"| {variant} | `{name}` | {1e3 * seconds:.2f} | {report.share(ratios)} | {extra} |"
            )
    return "\n".join(text) + "\n"


if __name__ == "__main__":
    command(main)
