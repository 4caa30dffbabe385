"""K targets at once on the GPU: right against float64, the same bits twice, beside a copy."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from statistics import median

import numpy as np
import torch

from direct.loss import backends, native, reference
from direct.loss.reference import TargetInputs

from .. import cases, measure, target
from .place import Kernels, NotHere, Place, Record, kernels

SIZES = ((2, 576), (3, 1), (2, 7, 11, 13), (1, 4097), (1, 16, 21, 60, 104))
SMALL = ((2, 24), (2, 77))
COUNTS = (1, 4, 9)
DTYPES = (torch.float32, torch.bfloat16)


def agreement(name: str, place: Place) -> Iterator[Record]:
    found, sizes = kernels(name, place), SMALL if place.rehearse else SIZES
    for size, count, dtype in itertools.product(sizes, COUNTS, DTYPES):
        p = inputs(size, count, dtype)
        wrong = disagreements(found, p, place.device)
        what = f"{name}: {count} targets, {list(size)}, {str(dtype).removeprefix('torch.')}"
        yield {"what": what, "reading": "agrees", "value": not wrong, "said": wrong}


def inputs(shape: tuple[int, ...], count: int, dtype: torch.dtype) -> TargetInputs:
    """A weight for each sample and target, and a threshold that leaves some elements out."""
    generator = torch.Generator().manual_seed(0)
    v, *targets = (torch.randn(shape, generator=generator).to(dtype) for _ in range(count + 1))
    weight = torch.rand(shape[0], count, generator=generator)
    return TargetInputs(v, targets, [0.4 - 0.15 * k for k in range(count)], weight, 2.0, True)


def disagreements(found: Kernels, p: TargetInputs, device: str) -> list[str]:
    """What is wrong, by the tolerances of every backend's tests; in two calls the same bits."""
    assert found.targets is not None and p.weight is not None
    there = p._replace(
        v=p.v.to(device), targets=[u.to(device) for u in p.targets], weight=p.weight.to(device)
    )
    ours, again = ([tensor.cpu() for tensor in found.targets(there)] for _ in range(2))
    doubled = p._replace(v=p.v.double(), targets=[u.double() for u in p.targets])
    exact = reference.evaluate_targets(doubled)
    slack = 1e-6 * float(exact[2].abs().max())
    near = ((2e-6, 1e-6), (2e-6, 1e-7), (1.01 * torch.finfo(p.v.dtype).eps / 2, slack))
    wrong = [
        f"{name}: not float64's"
        for name, a, b, (rtol, atol) in zip(
            ("loss", "distances", "gradient"), ours, exact, near, strict=True
        )
        if not np.allclose(a.double(), b.double(), rtol, atol)
    ]
    if not all(map(torch.equal, ours, again)):
        wrong.append("other bits the second time")
    return wrong


def speed(place: Place) -> Iterator[Record]:
    """Four targets by the operator, beside a copy of as many bytes: 12 an element, copied in 3."""
    if place.device == "cuda" and (lacking := backends.missing("cuda")):
        raise NotHere(lacking)
    for batch in (1, 8):
        shape = (batch, 4, 3, 5) if place.rehearse else (batch, *cases.PAPER)
        steps = {
            "copy": lambda s: [s[to].copy_(s["eps"]) for to in ("x", "eps_hard", "x_rand")],
            "ours": lambda s: native.target_operator(
                TargetInputs(
                    s["v"],
                    [s[name] for name in target.NAMES],
                    target.COEFFICIENTS,
                    None,
                    50.0,
                    True,
                )
            ),
        }
        moved = cases.bytes_moved(shape, "drawn")
        sets = measure.rotation(lambda seed, s=shape: cases.inputs(s, place.device, seed), moved)
        taken = measure.seconds(steps, sets, 0.0 if place.rehearse else 0.25)
        share = median(taken["copy"]) / median(taken["ours"])
        yield {"what": f"B = {batch}", "reading": "share of a copy, four targets", "value": share}
