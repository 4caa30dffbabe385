"""python -m benchmarks.target: what targets of plug-ins cost, together and one by one.

Together is how the trainer evaluates them (direct/loss/targets.py): one call for all. One by one is
how it did before: a call of the loss for each, with the target in the reference's place and the
other weights 0, whose gradients autograd adds. All forms go from v to its gradient and take turns
on the same inputs. On a CPU the times are processor time, which other work hardly touches.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import torch
from torch import Tensor

from direct import velocity_loss
from direct.common.errors import command
from direct.loss.targets import target_loss

from . import cases, measure, options

NAMES = ("x_hard", "x_rand", "v_ref", "eps_rand")  # what serves as targets
COEFFICIENTS = (0.1, -0.05, 0.2, 0.02)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.target", description=__doc__)
    add = parser.add_argument
    add("--batch", type=options.number(options.BATCHES), default=1, help="of the paper's shape (1)")
    add(
        "--counts",
        type=options.numbers(len(NAMES)),
        default="1,2,4",
        help="of targets, 4 at most (1,2,4)",
    )
    add("--seconds", type=options.duration, default=3.0, help="of measuring, per form (3)")
    text = "on a CPU: freed memory goes back to the system, or stays as in a training (default)"
    add("--malloc", choices=("default", "kept"), default="default", help=text)
    arguments = parser.parse_args()
    if arguments.malloc == "kept":
        measure.keep_memory()
    device, shape = "cuda" if torch.cuda.is_available() else "cpu", (arguments.batch, *cases.PAPER)
    print(f"{list(shape)} bf16 on {device}, {torch.get_num_threads()} threads")
    for count in arguments.counts:
        together, before = several(device, shape, count, arguments.seconds)
        print(
            f"K = {count}: {1e3 * together:.3f} ms together, {1e3 * before:.3f} ms one by one: "
            f"{before / together:.2f} times"
        )
    for variant in cases.VARIANTS:
        alone, both = seconds(device, shape, variant, arguments.seconds)
        print(
            f"the loss, noises {variant}: {1e3 * alone:.3f} ms, with a target {1e3 * both:.3f} ms: "
            f"{both / alone:.2f} times"
        )


def several(device: str, shape: tuple[int, ...], count: int, budget: float) -> tuple[float, float]:
    """Medians of calls: `count` targets together, and one by one."""
    backend = "cpp" if device == "cpu" else "cuda"
    steps = {
        "together": cases.by_autograd(lambda v, s: together(v, s, count, backend)),
        "before": cases.by_autograd(lambda v, s: one_by_one(v, s, count, backend)),
    }
    return _medians(device, shape, steps, budget)


def seconds(
    device: str, shape: tuple[int, ...], variant: str, budget: float
) -> tuple[float, float]:
    """Of the loss to its gradient, and of the loss with one target more: medians of calls."""
    backend = "cpp" if device == "cpu" else "cuda"
    loss = cases.ours(backend, variant == "drawn")
    steps = {
        "alone": cases.by_autograd(loss),
        "both": cases.by_autograd(lambda v, s: loss(v, s) + together(v, s, 1, backend)),
    }
    return _medians(device, shape, steps, budget)


def _medians(
    device: str, shape: tuple[int, ...], steps: dict[str, measure.Step], budget: float
) -> tuple[float, float]:
    moved = cases.bytes_moved(shape, "drawn")
    sets = measure.rotation(lambda seed: cases.inputs(shape, device, seed), moved)
    first, second = measure.seconds(steps, sets, budget, time.process_time).values()
    return median(first), median(second)


def together(v: Tensor, s: dict[str, Tensor], count: int, backend: str) -> Tensor:
    """As `direct.train.terms` has them."""
    weight = torch.ones(len(v), count, device=v.device)
    targets, numbers = [s[name] for name in NAMES[:count]], COEFFICIENTS[:count]
    return target_loss(
        v, targets, numbers, weight=weight, threshold=cases.THRESHOLD, backend=backend
    ).loss


def one_by_one(v: Tensor, s: dict[str, Tensor], count: int, backend: str) -> Tensor:
    """As it had them before: the anchor with u in its place."""
    weight = torch.zeros(len(v), 4, device=v.device)
    weight[:, 3] = 1
    return sum(
        velocity_loss(
            v,
            s["x"],
            s["eps"],
            reference=s[name],
            lambda_anc=coefficient,
            weight=weight,
            threshold=cases.THRESHOLD,
            backend=backend,
        ).loss
        for name, coefficient in zip(NAMES[:count], COEFFICIENTS[:count], strict=True)
    )


if __name__ == "__main__":
    command(main)
