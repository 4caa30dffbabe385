"""How fast the kernels are, beside a copy and their competitors, and beside what was predicted."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from statistics import median
from typing import Any

import torch

from direct import extension, noise
from direct.common.errors import UserError
from direct.loss import backends

from .. import cases, formulas, machine_code, measure, report, target
from .place import NotHere, Place, Record

SECONDS = 0.25  # of measuring, per implementation
PREDICTED = {"given": "draws nothing", "drawn": "draws negatives"}  # of machine_code's variants


def table(place: Place, batch: int) -> Iterator[Record]:
    """`benchmarks.report`'s rows at one batch size (0: the tiny profile's shape), and readings.

    What torch.compile makes comes last, so that all else is kept where it fails.
    """
    shape = (batch, *cases.PAPER) if batch else (8, *cases.TINY)
    shape = (2, 4, 3, 5) if place.rehearse else shape
    size = f"B = {batch}" if batch else "tiny"
    rows: list[dict[str, Any]] = []
    for compiled, readings in ((False, against_limits), (True, against_compiled)):

        def chosen(name: str, compiled: bool = compiled) -> bool:
            return name.startswith("compiled") == compiled

        new = report.measure_all(place.device, shape, _budget(place), "default", chosen)
        yield from ({"what": "row", "row": row} for row in new)
        rows += new
        yield from readings(rows, size)


def against_limits(rows: list[dict[str, Any]], size: str) -> Iterator[Record]:
    for what, variant, backend, by_name in _ours(rows, size):
        copy, own = by_name["limit: copy"], by_name[f"ours, {backend}, op"]
        reading = f"share of a copy, noises {variant}"
        yield {"what": what, "reading": reading, "value": copy / own}
        faster = by_name["eager fp32"] / by_name[f"ours, {backend}"]
        yield {"what": what, "reading": "times as fast as eager fp32", "value": faster}


def against_compiled(rows: list[dict[str, Any]], size: str) -> Iterator[Record]:
    for what, _, backend, by_name in _ours(rows, size):
        better = min(s for name, s in by_name.items() if name.startswith("compiled"))
        faster = better / by_name[f"ours, {backend}, op"]
        reading = "times as fast as the better compiled form"
        yield {"what": what, "reading": reading, "value": faster}


def _ours(rows: list[dict[str, Any]], size: str) -> Iterator[tuple[str, str, str, dict]]:
    """Each of our backends in each variant, beside the seconds of all that was measured in it."""
    for variant in cases.VARIANTS:
        by_name = {row["name"]: row["seconds"] for row in rows if row["noise"] == variant}
        for backend in ("cuda", "triton", "cpp"):
            if f"ours, {backend}, op" in by_name:
                yield f"{backend}, {size}, noises {variant}", variant, backend, by_name


def others(place: Place) -> Iterator[Record]:
    """DeltaFM's loss and Liger's way to a gradient, as formulas, against ours."""
    backend = _backend(place)
    shape = (2, 4, 3, 5) if place.rehearse else (8, *cases.PAPER)
    sets = _sets(place, shape)
    all_terms = cases.ours(backend, False)
    losses = {
        "DeltaFM's loss": (formulas.delta_fm, partial(formulas.ours, backend=backend)),
        "Liger's way, all terms": (formulas.gradient_in_forward, all_terms),
    }
    for name, pair in losses.items():
        steps = {
            who: cases.by_autograd(loss) for who, loss in zip(("theirs", "ours"), pair, strict=True)
        }
        taken = measure.seconds(steps, sets, _budget(place))
        theirs, own = median(taken["theirs"]), median(taken["ours"])
        yield {
            "what": f"{name}: {1e3 * theirs:.3f} ms, ours {1e3 * own:.3f} ms, {list(shape)}",
            "reading": "times as fast as others' formulas",
            "value": theirs / own,
        }


def one_more_target(place: Place) -> Iterator[Record]:
    """A plug-in's target, beside the loss: its time in the loss's."""
    if place.device == "cuda" and (lacking := backends.missing("cuda")):
        raise NotHere(lacking)
    shape = (2, 4, 3, 5) if place.rehearse else (8, *cases.PAPER)
    for variant in cases.VARIANTS:
        alone, both = target.seconds(place.device, shape, variant, _budget(place))
        what = f"{1e3 * alone:.3f} ms alone, noises {variant}"
        yield {
            "what": what,
            "reading": "a target's time over the loss's",
            "value": both / alone - 1,
        }


def small_kernels(place: Place) -> Iterator[Record]:
    """x_t with its noise, noise alone, and scaling: each beside a copy of as many bytes."""
    backend, shape = _backend(place), (2, 4, 3, 5) if place.rehearse else (8, *cases.PAPER)
    if backend == "triton":
        raise NotHere(str(backends.missing("cuda")))
    t = torch.linspace(0.1, 0.9, shape[0], device=place.device)
    factor = torch.tensor(0.5, device=place.device)
    steps: dict[str, Any] = {  # each moves 4 bytes an element
        "copy": lambda s: s["x_rand"].copy_(s["x_hard"]),
        "x_t": lambda s: noise.interpolate(s["x"], s["key"], t),
        "noise in float32": lambda s: noise.normal(s["key"], shape),
    }
    if not place.rehearse:
        steps["a gradient scaled"] = lambda s: torch.ops.direct.scale_(s["eps_hard"], factor)
    taken = measure.seconds(steps, _sets(place, shape), _budget(place))
    seconds = {name: median(times) for name, times in taken.items()}
    for name in list(steps)[1:]:
        share = seconds["copy"] / seconds[name]
        yield {"what": backend, "reading": f"share of a copy, {name}", "value": share}


def predicted(place: Place) -> Iterator[Record]:
    """What `benchmarks.throughput` makes of the library's machine code; the report compares."""
    if not extension.HAS_CUDA:
        raise NotHere(str(backends.missing("cuda")))
    try:
        found = {reading.name: reading for reading in machine_code.readings("sm_90")}
    except UserError as reason:  # no cuobjdump, or no code for it
        raise NotHere(str(reason)) from None
    for variant, draws in PREDICTED.items():
        own = found[f"bf16, {draws}, gradient"]
        for batch in (1,) if place.rehearse else (1, 4, 8):
            what = f"cuda, B = {batch}, noises {variant}"
            yield {
                "what": what,
                "reading": "predicted share of a copy",
                "value": own.share_of_copy(batch),
            }


def _backend(place: Place) -> str:
    if place.rehearse:
        return "cpp"
    return "triton" if backends.missing("cuda") else "cuda"


def _budget(place: Place) -> float:
    return 0.0 if place.rehearse else SECONDS


def _sets(place: Place, shape: tuple[int, ...]) -> list[dict[str, Any]]:
    moved = cases.bytes_moved(shape, "drawn")
    return measure.rotation(lambda seed: cases.inputs(shape, place.device, seed), moved)
