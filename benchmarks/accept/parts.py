"""The parts of the acceptance, in order: what matters most first, the sweep last."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import NamedTuple

from . import correct, models, several, speed, together
from .place import Place, Record


class Part(NamedTuple):
    seconds: int  # its limit on a GPU
    run: Callable[[Place], Iterator[Record]]
    cheap: bool = False  # in a rehearsal: a second or two


def _both(*generators: Callable[[Place], Iterator[Record]]) -> Callable[[Place], Iterator[Record]]:
    return lambda place: chain.from_iterable(generate(place) for generate in generators)


def _right(name: str) -> tuple[Callable[[Place], Iterator[Record]], ...]:
    return tuple(
        partial(check, name)
        for check in (correct.agreement, correct.drawn_inside, several.agreement)
    )


PARTS = {
    "correct, cuda": Part(60, _both(correct.bits, *_right("cuda"))),
    "correct, triton": Part(110, _both(*_right("triton"))),
    "graphs and streams": Part(45, _both(together.graphs, together.streams), cheap=True),
    "kernels, B of 8": Part(60, partial(speed.table, batch=8), cheap=True),
    "kernels, B of 1": Part(50, partial(speed.table, batch=1)),
    "others": Part(
        45,
        _both(speed.others, speed.small_kernels, speed.one_more_target, several.speed),
        cheap=True,
    ),
    "predicted": Part(25, speed.predicted),
    "cost": Part(120, models.cost),
    "negative": Part(45, models.negative),
    "sanitizer": Part(90, together.sanitizer),
    "kernels, B of 4": Part(45, partial(speed.table, batch=4)),
    "kernels, tiny": Part(30, partial(speed.table, batch=0)),
    "lambda_hard": Part(400, models.sweep),
}
