"""python -m benchmarks.target: what one more target of a plug-in costs beside the loss.

The trainer evaluates it by a second call of the operator (direct/train/terms.py), whose gradient
autograd adds to the first's. Both forms take turns on the same inputs, from v to its gradient.
"""

from __future__ import annotations

import argparse
from statistics import median

import torch
from torch import Tensor

from direct import velocity_loss

from . import cases, measure

WEIGHT = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.target", description=__doc__)
    add = parser.add_argument
    add("--batch", type=int, default=1, help="of the paper's shape (1)")
    add("--seconds", type=float, default=3.0, help="of measuring, per form (3)")
    arguments = parser.parse_args()
    device, shape = "cuda" if torch.cuda.is_available() else "cpu", (arguments.batch, *cases.PAPER)
    for variant in cases.VARIANTS:
        alone, both = seconds(device, shape, variant, arguments.seconds)
        print(
            f"noises {variant}: {1e3 * alone:.3f} ms, with a target {1e3 * both:.3f} ms: "
            f"{both / alone:.2f} times"
        )


def seconds(
    device: str, shape: tuple[int, ...], variant: str, budget: float
) -> tuple[float, float]:
    """Of the loss to its gradient, and of the loss with one target more: medians of calls."""
    moved = cases.bytes_moved(shape, "drawn")
    sets = measure.rotation(lambda seed: cases.inputs(shape, device, seed), moved)
    backend = "cpp" if device == "cpu" else "cuda"
    loss = cases.ours(backend, variant == "drawn")
    steps = {
        "alone": cases.by_autograd(loss),
        "both": cases.by_autograd(lambda v, s: loss(v, s) + target(v, s, backend)),
    }
    taken = measure.seconds(steps, sets, budget)
    return median(taken["alone"]), median(taken["both"])


def target(v: Tensor, s: dict[str, Tensor], backend: str) -> Tensor:
    """WEIGHT d(v, u) as `direct.train.terms` has it: the anchor with u in its place."""
    weight = torch.zeros(len(v), 4, device=v.device)
    weight[:, 3] = 1
    return velocity_loss(
        v,
        s["x"],
        s["eps"],
        reference=s["x_hard"],
        lambda_anc=WEIGHT,
        weight=weight,
        threshold=cases.THRESHOLD,
        backend=backend,
    ).loss


if __name__ == "__main__":
    main()
