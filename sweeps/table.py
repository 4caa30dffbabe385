"""What a table is: its rows, their values in the judge's units, and what they were made from.

`tables.build` makes one from results; `report` draws it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from direct.config import Config

from .contrasts import Hypothesis, Scores, Tested
from .schema import Ablation, Cell, Row
from .stats import Array, Estimate, Pool

JUDGES = {"world": "world judge", "videophy": "VideoPhy", "worldmodelbench": "WorldModelBench"}


def judge_name(judge: str) -> str:
    """As it is printed; a plug-in's by its own name."""
    return JUDGES.get(judge, judge)


@dataclass(frozen=True)
class Value:
    """One number of a table, in the judge's units. `None`: there is nothing to say."""

    scores: Scores
    mean: Estimate
    difference: Estimate | None  # paired, this row minus its partner
    differences: Array | None  # [S, P]
    p_holm: float | None  # of a declared contrast
    best: bool = False
    second: bool = False
    tied: bool = False  # its interval of the paired difference from the best holds 0


@dataclass(frozen=True)
class Gain:
    """The gain of a training (docs/theory.md), over noise levels and the seeds that measured it."""

    learnt: float
    predicted: float


@dataclass(frozen=True)
class Line:
    """One row of a table."""

    row: Row
    values: dict[str, Value]  # by metric; empty where nothing is finished
    cells: tuple[Cell, ...]
    missing: int  # cells without a result
    diverged: tuple[str, ...]  # one reason per diverged cell
    trained: bool  # not the base model, which a seed gives its noise alone
    negatives: dict[str, float] | None = None  # what Eq. 2 does to the draws (see `sweeps.cell`)
    chosen: str = ""  # the row that a row of the best has chosen on validation prompts
    gain: Gain | None = None  # what its training learnt


@dataclass(frozen=True)
class Old:
    """Results that other code made than is at hand."""

    count: int
    total: int
    modules: tuple[str, ...]  # in which the two differ


@dataclass(frozen=True)
class Table:
    ablation: Ablation
    config: Config  # of the first cell: profile, judge, prompts
    lines: tuple[Line, ...]
    pools: dict[str, Pool | None]  # variance over seeds, by metric
    detectable: dict[str, float]  # by contrasted row: smallest paired PC difference, judge's units
    provenance: dict[str, Any]
    samples: tuple[dict[str, Any], ...] = ()  # of a measuring table, by cell (measure/alignment.py)
    units: tuple[str, ...] = ()  # what a matrix's columns are: prompts, or steps, in their order
    old: Old | None = None  # results that are not of the code at hand
    family: dict[Hypothesis, Tested] = field(default_factory=dict)  # what Holm's test is over
    looks: int = 0  # of `ablation.rounds`, those that all cells are there for
    warning: str = ""  # what the control says about all that this table does not show

    @property
    def judge(self) -> str:
        """Whose scores these are: never to be mistaken for the paper's."""
        if self.ablation.measured:
            return f"measured, {self.config.profile}"
        return f"{judge_name(self.config.evaluate.judge)}, {self.config.profile}"

    @property
    def baseline(self) -> Line | None:
        return next((x for x in self.lines if x.row.label == self.ablation.baseline), None)
