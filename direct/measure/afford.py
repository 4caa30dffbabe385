"""What can be done with so many GPUs, hours and GB: which profile, which tables, how many seeds.

The larger profiles are asked first, each for ever more tables and seeds, until what is there is
used up. Everything is an estimate of `plan`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from ..config import Config
from ..profiles import profile
from ..settings import override
from . import plan
from .plan import GB, GPUS

MOST = 100_000  # GPUs
# From the paper's own setting down to one GPU: each gives up what the one before it has.
RUNGS = (
    ("wan2.1-t2v-1.3b", ()),
    ("wan2.1-t2v-1.3b", ("hard_sample.steps=20",)),
    (
        "wan2.1-t2v-1.3b",
        ("hard_sample.steps=20", "data.clips=3000", "train.steps=4000", "evaluate.prompts=172"),
    ),
    ("wan2.1-1gpu", ()),
)
# A table's name, the sweep that makes it, and of a seed the cells that are trained and those that
# are not, beyond the cells of the tables before it (tests/sweeps/test_afforded.py).
TABLES: tuple[tuple[str, str, int, int], ...] = (
    ("S3", "lambda_hard", 4, 0),
    ("1", "sampling", 4, 1),
    ("S2", "lambda_rand", 4, 0),
    ("S1", "lambda_anc", 3, 0),
    ("S5", "clusters", 9, 0),
)
AMOUNTS = ((1, 1), (1, 2), (1, 3), (2, 3), (3, 3), (4, 3), (5, 3), (5, 5))  # (tables, seeds)
ENOUGH = 3  # seeds, below which nothing can be said about how much a result depends on them


@dataclass(frozen=True)
class Have:
    name: str  # of the GPU, in `plan.GPUS`
    gpus: int
    hours: float
    disk: float  # bytes; infinity: not looked at


@dataclass(frozen=True)
class Rung:
    """One configuration on the GPUs that are there."""

    name: str
    changes: tuple[str, ...]
    have: Have
    share: float

    @cached_property
    def config(self) -> Config:
        return override(profile(self.name), *self.changes)

    @cached_property
    def ranks(self) -> int:
        """GPUs that train one cell together."""
        train = self.config.train
        if train.engine == "torch":
            return 1
        micro = train.micro_batch or 1
        fit = [n for n in range(1, train.batch + 1) if not train.batch % (n * micro)]
        return max(n for n in fit if n <= self.have.gpus)

    @cached_property
    def steps(self) -> dict[str, plan.Step]:
        gpu = GPUS[self.have.name]
        return {row.name: row for row in plan.steps(self.config, gpu, self.ranks, self.share)}

    @property
    def too_large(self) -> list[plan.Step]:
        """The steps that do not fit the GPU."""
        most = GPUS[self.have.name].memory * GB
        return [row for row in self.steps.values() if row.memory and row.memory > most]

    def cells(self, tables: int, seeds: int) -> tuple[int, int]:
        """How many cells are trained, and how many are not."""
        chosen = TABLES[:tables]
        trained = sum(trained for _, _, trained, _ in chosen)
        return trained * seeds, sum(untrained for *_, untrained in chosen) * seeds

    def hours(self, tables: int, seeds: int) -> float:
        """Of a clock: preparation on all GPUs, then cells on `ranks` GPUs each, side by side."""
        spent = {name: row.hours or 0.0 for name, row in self.steps.items()}
        negatives = plan.drawn(self.config, seeds) / (self.steps["render"].items or 1)
        prepared = spent["encode"] + spent["perturb"] + spent["render"] * negatives
        together = self.have.gpus // self.ranks
        trained, untrained = self.cells(tables, seeds)
        one = (spent["train"] + spent["evaluate"]) / self.ranks
        rounds, more = math.ceil(trained / together), math.ceil(untrained / together)
        return prepared / self.have.gpus + rounds * one + more * spent["evaluate"] / self.ranks

    def disk(self, tables: int, seeds: int) -> float:
        """Bytes: models, what is prepared, what cells leave, and checkpoints while they train."""
        clip, rows = plan.count(self.config), self.steps
        models = 4.0 * clip.weights + 4.0 * plan.TEXT_ENCODER + 2.0 * plan.LANGUAGE_MODEL
        negatives = plan.drawn(self.config, seeds) / (rows["render"].items or 1)
        trained, untrained = self.cells(tables, seeds)
        left = (
            4 if self.config.train.lora_rank else 4 + 12
        ) * clip.weights  # weights, last moments
        working = (rows["train"].disk - left) * (self.have.gpus // self.ranks)
        clips = rows["evaluate"].disk * (trained + untrained)
        return (
            models
            + rows["encode"].disk
            + rows["render"].disk * negatives
            + trained * left
            + max(0.0, working)
            + clips
        )

    def fits(self, tables: int, seeds: int) -> bool:
        return (
            self.hours(tables, seeds) <= self.have.hours
            and self.disk(tables, seeds) <= self.have.disk
        )

    @cached_property
    def most(self) -> tuple[int, int] | None:
        """The last of AMOUNTS that can be done."""
        if any(row.name != "perturb" for row in self.too_large):
            return None
        return next((amount for amount in reversed(AMOUNTS) if self.fits(*amount)), None)

    @property
    def settings(self) -> str:
        return " ".join([f"--profile {self.name}", *(f"--set {x}" for x in self.changes)])


def answer(have: Have, share: float) -> tuple[str, bool]:
    """The answer as text, and whether anything of the paper's scale can be done."""
    rungs = [Rung(name, changes, have, share) for name, changes in RUNGS]
    chosen = next((rung for rung in rungs if rung.most), None)
    return "\n".join(_lines(have, share, rungs, chosen)), chosen is not None


def _lines(have: Have, share: float, rungs: list[Rung], chosen: Rung | None) -> Iterator[str]:
    room = "" if math.isinf(have.disk) else f", {have.disk / GB:,.0f} GB of disk"
    total = have.gpus * have.hours
    yield f"{have.gpus} x {have.name} for {have.hours:,.4g} h ({total:,.4g} GPU-hours){room}"
    for rung in rungs:
        yield f"{'*' if rung is chosen else ' '} {rung.settings}\n    {_verdict(rung)}"
    if chosen is None:
        yield "nothing of the paper's scale: take the profile tiny, which needs no GPU"
        yield "  make lambda_hard"
    else:
        yield from _advice(chosen)
    yield (
        f"estimates, no GPU has confirmed them: {100 * share:.0f} % of the GPU's peak, from one "
        "published number; after encode and some of render: python -m direct.plan --compare"
    )
    yield (
        "not counted: downloads, curating, the rater, the videos themselves, and reference "
        "velocities, which use disk that is left over to save time"
    )


def _verdict(rung: Rung) -> str:
    """What can be done of a rung, or what lacks for the least of it."""
    other = [row for row in rung.too_large if row.name != "perturb"]
    if other:
        row, memory = other[0], GPUS[rung.have.name].memory
        return f"does not fit: {row.name} takes {(row.memory or 0) / GB:.1f} GB of {memory:g}"
    if rung.most:
        return _amount(rung, *rung.most)
    lacks = "disk" if rung.hours(*AMOUNTS[0]) <= rung.have.hours else "time"
    return f"not enough {lacks}: {_amount(rung, *AMOUNTS[0])}"


def _amount(rung: Rung, tables: int, seeds: int) -> str:
    trained, untrained = rung.cells(tables, seeds)
    names = ", ".join(row[0] for row in TABLES[:tables])
    return (
        f"Table{'s' if tables > 1 else ''} {names}, {seeds} seed{'s' if seeds > 1 else ''} "
        f"({trained + untrained} cells): {rung.hours(tables, seeds):,.0f} h, "
        f"{rung.disk(tables, seeds) / GB:,.0f} GB"
    )


def _advice(rung: Rung) -> Iterator[str]:
    """The commands of what was chosen, and what it gives up."""
    tables, seeds = rung.most or AMOUNTS[0]
    chosen = ",".join(map(str, range(seeds)))
    how = f"--workers {rung.have.gpus // rung.ranks} --gpus-per-cell {rung.ranks}"
    yield "take *: prepare it (docs/first-day.md), then"
    for _, sweep, *_ in TABLES[:tables]:
        yield f"  python -m sweeps.run {sweep} {rung.settings} --seeds {chosen} {how}"
    given = plan.given_up(rung.config)
    if left := [row[0] for row in TABLES[tables:]]:
        given.append(f"tables {', '.join(left)}")
    if seeds < ENOUGH:
        given.append(f"{ENOUGH} seeds (with fewer, no interval over seeds means much)")
    yield f"gives up: {'; '.join(given) or 'nothing of the paper that is counted here'}"
    if any(row.name == "perturb" for row in rung.too_large):
        yield "the language model does not fit this GPU: perturb --server, on another machine"
