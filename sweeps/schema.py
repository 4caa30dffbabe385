"""What a table is made of: its columns, its rows, and the cells that give its numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from operator import itemgetter
from types import MappingProxyType
from typing import Any

from direct import plugins
from direct.config import Config
from direct.identity import canonical, identity
from direct.settings import with_values

from . import paper


@dataclass(frozen=True)
class Metric:
    """A column. Scores are stored in the judge's units; a table shows `scale` times them."""

    title: str
    scale: float
    decimals: int
    group: str  # the column group of the paper, or "ours"
    better: int = 1  # 1: higher is better, -1: lower is; 0: neither, and nothing is ranked
    printed: int | None = None  # decimals of the published number, where they are others

    @property
    def head(self) -> str:
        """The title, with its arrow."""
        return f"{self.title} {('', '↑', '↓')[self.better]}".strip()


SCORES = {
    "SA": Metric("SA", 100, 2, "VideoPhy (%)"),
    "PC": Metric("PC", 100, 2, "VideoPhy (%)"),
    "AVG": Metric("AVG", 100, 2, "VideoPhy (%)"),
    "PCcap": Metric("PC given caption", 100, 2, "ours (%)"),
    "Instr": Metric("Instr.", 1, 2, "WorldModelBench"),
    "Frame": Metric("Frame", 1, 2, "WorldModelBench"),
    "Temp": Metric("Temp.", 1, 2, "WorldModelBench"),
    "Mass": Metric("Mass", 1, 2, "WorldModelBench"),
    "Penetr": Metric("Penetr.", 1, 2, "WorldModelBench"),
    "Total": Metric("Total", 1, 2, "WorldModelBench"),
}
_GRADIENTS, _KERNEL, _PROP = "over all parameters", "the kernel's telemetry", "Prop. 1"
_COST, _SPLIT = "training cost", "of the seconds"
_GAIN, _POOL = "gain s about the mean negative", "gain s about the mean clip"
MEASURED = {  # of training itself: Tables S4 and S6, and the gain
    "cosine": Metric("cosine", 1, 3, _GRADIENTS, 0, printed=2),
    "deviation": Metric("deviation", 1, 3, _GRADIENTS, 0, printed=2),
    "telemetry": Metric("cosine in output space", 1, 3, _KERNEL, 0),
    "correlation": Metric("its r with the cosine", 1, 3, _KERNEL, 0),
    "a": Metric("a", 1, 4, _PROP, 0),
    "delta": Metric("|δ|²/n", 1, 3, _PROP, 0),
    "delta_x": Metric("|δ|²/n without noise", 1, 3, _PROP, 0),
    "predicted": Metric("predicted", 1, 4, _GAIN, 0),
    "s": Metric("learnt", 1, 4, _GAIN, 0),
    "share": Metric("learnt / predicted", 1, 2, _GAIN, 0),
    "r2": Metric("R²", 1, 2, _GAIN, 0),
    "apart": Metric("reference's own part", 1, 3, _GAIN, 0),
    "pool_s": Metric("learnt", 1, 4, _POOL, 0),
    "pool_r2": Metric("R²", 1, 2, _POOL, 0),
    "memory_gb": Metric("Mem. (GB)", 1, 4, _COST, -1, printed=2),
    "seconds_per_iteration": Metric("Time (s/iter)", 1, 4, _COST, -1, printed=2),
    **{
        part: Metric(part, 1, 4, _SPLIT, 0)
        for part in ("data", "forward", "reference", "loss", "backward", "update")
    },
}


class _Metrics(dict[str, Metric]):
    """The metrics above; those that an experiment has noted; those of loaded plug-ins' judges."""

    noted: Mapping[str, Metric] = MappingProxyType({})  # of the experiment that is reported

    def __missing__(self, name: str) -> Metric:
        if name in self.noted:
            return self.noted[name]
        known = plugins.metrics()
        if name not in known:
            raise KeyError(name)
        return Metric(**known[name])

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in self.noted or name in plugins.metrics()


BUILT_IN = SCORES | MEASURED
METRICS = _Metrics(BUILT_IN)
GROUPS = {"videophy": "VideoPhy (%)", "worldmodelbench": "WorldModelBench"}  # of these judges alone


def given(judge: str) -> list[str]:
    """The metrics that a judge gives."""
    if own := plugins.scores(judge):
        return list(own)
    group = GROUPS.get(judge)
    return [name for name, metric in SCORES.items() if group in (None, metric.group)]


ALL_ROWS = "all rows"  # of a measuring table: readings of one cell, paired step by step
CHOICE_METRIC, CHOICE_PROMPTS = "AVG", 64  # what choices are made by; on how many prompts at most


@dataclass(frozen=True)
class Row:
    """One row of a table: a label, and the settings in which it differs from the others.

    A user gives `label` and `values`; the other fields are for special rows.
    """

    label: str  # as printed; the key into the paper's table
    # Settings by dotted name, {"loss.lambda_hard": 0.1}; a function is given the configuration
    values: dict[str, Any] = field(default_factory=dict)
    reference: bool = False  # ours, not in the paper's table
    against: str = ""  # the row that its differences are taken from; "": the table's baseline
    part: Fraction = Fraction(1)  # of the training steps: a point along the longer run
    curve: str = ""  # rows of one curve are joined in the plot, `part` on its axis
    profile: str = ""  # the only profile that can run it; elsewhere it has no cells
    reading: str = ""  # of a measuring table: the row's metrics are the cell's `<reading>.<metric>`
    best_of: tuple[str, ...] = ()  # it is that of these rows which is best on validation prompts

    @property
    def owner(self) -> str:
        """What the row's cells are called."""
        return ALL_ROWS if self.reading else self.label


USUAL = ("SA", "PC", "AVG", "PCcap")
EVERY_ROW = (("", ""),)  # contrasts: each row against its partner, on SA and PC


@dataclass(frozen=True)
class Ablation:
    """A table: its rows, the baseline, and the contrasts that are tested.

    A user gives `name` and `rows`. In a file of one's own (`own_tables`) what is left out is filled
    in: the baseline is the first row, and each other row is tested against it on SA and PC. Rows
    are compared prompt by prompt, so all of them are judged on the same prompts.
    """

    name: str  # letters, digits, ".", "_" and "-"; by which it is run
    table: str = ""  # the paper's number (the key into `paper.TABLES`), or what it is called; name
    title: str = ""  # the caption's first sentence; the name
    header: str = ""  # of the label column; the axis, or "Row"
    rows: tuple[Row, ...] = ()
    baseline: str = ""  # the label that differences are taken against; the first row's
    contrasts: tuple[tuple[str, str], ...] = EVERY_ROW  # (label, metric), against its partner
    common: dict[str, Any] = field(default_factory=dict)  # under every row's own settings
    metrics: tuple[str, ...] = USUAL  # columns, of `METRICS`
    axis: str | None = None  # the setting on the plot's logarithmic axis; None: labels
    seeds: tuple[int, ...] = (0, 1, 2)  # training seeds, unless --seeds gives others
    rounds: tuple[
        int, ...
    ] = ()  # numbers of seeds at the planned looks (--until-decided); else none
    prompts: dict[str, int] = field(default_factory=dict)  # by profile; else the profile's own
    extra: bool = False  # ours: run by name, and by `all` with --extra
    margin: float | None = None  # printed units: rows closer than this to the baseline are alike
    unit: str = "prompts"  # what a number is the mean over; a measuring table: of training
    plot: str = "rows"  # its kind (report.write)
    changed: tuple[str, ...] = ()  # of a variant: `setting=value` by --set, as its caption says

    @property
    def measured(self) -> bool:
        """Whether the rows are readings of training itself, not scores of clips."""
        return self.unit != "prompts"

    @property
    def place(self) -> str:
        """`Table S3`, `Figure 6`, or what a table of ours is called."""
        return f"Table {self.table}" if self.table in paper.TABLES else self.table or self.name

    @property
    def ours(self) -> bool:
        """Whether the paper has no such table or figure."""
        return self.table not in paper.TABLES and not self.table.startswith("Figure")

    @property
    def file(self) -> str:
        """What its files are called, without their endings."""
        return re.sub(r"[^\w.-]+", "_", self.place.lower())

    @property
    def published(self) -> dict[str, dict[str, float]]:
        return paper.TABLES.get(self.table, {})

    def partner(self, label: str) -> str:
        """The row that a row's differences are taken from."""
        return next(row.against for row in self.rows if row.label == label) or self.baseline


@dataclass(frozen=True)
class Cell:
    """One configuration and one seed. `row` is the label it stands under in this table."""

    row: str
    config: Config
    candidate: str = ""  # the row that it judges on validation prompts, for a row of the best

    @cached_property
    def id(self) -> str:
        return identity(self.config)


def plane(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """The settings that differ between rows, each with its values in order; None where a row has
    none of its own. Two settings are the axes of a heatmap."""
    names = dict.fromkeys(name for row in rows for name in row.values)
    found = {name: list(dict.fromkeys(row.values.get(name) for row in rows)) for name in names}
    return {name: values for name, values in found.items() if len(values) > 1}


def union(tables: Sequence[Ablation]) -> Ablation:
    """Several tables as one queue, so that no worker waits where one ends and the next begins."""
    rows = tuple(row for table in tables for row in table.rows)
    return Ablation("all", "every table", "every sweep", "", rows, "", ())


def cells(table: Ablation, base: Config, seeds: Sequence[int]) -> list[Cell]:
    """The table's cells, seed by seed, so that a part of the seeds is already a whole table.

    Rows of one configuration share one cell.
    """
    of_one_seed = _of_one_seed(table, base)
    found: dict[tuple[str, str], Cell] = {}
    for seed in seeds:
        for cell in of_one_seed:
            own = replace(cell, config=replace(cell.config, seed=seed))
            found.setdefault((own.row, own.id), own)
    return list(found.values())


def _of_one_seed(table: Ablation, base: Config) -> list[Cell]:
    """The cells of the base's own seed."""
    rows = {row.label: row for row in table.rows}
    found = []
    for row in table.rows:
        if row.profile not in ("", base.profile):
            continue
        if row.best_of:
            trial = _on_validation(base)
            of = {label: _config(table, rows[label], trial) for label in row.best_of}
            found += [Cell(row.label, config, label) for label, config in of.items()]
        else:
            found.append(Cell(row.owner, _config(table, row, base)))
    return found


def side_by_side(cells: Sequence[Cell], workers: int) -> list[Cell]:
    """The cells in the order in which `workers` get them: as many seeds at a time, row by row.

    Workers that begin one seed together would each compute what its cells share
    (`direct.train.reference_cache`); side by side, all but a seed's first cell find it.
    """
    place: dict[int, int] = {}  # of a seed
    row: Counter[int] = Counter()  # of the seed's next cell
    order = []
    for cell in cells:
        seed = cell.config.seed
        own = place.setdefault(seed, len(place))
        order.append((own // workers, row[seed], own))
        row[seed] += 1
    return [cell for _, cell in sorted(zip(order, cells, strict=True), key=itemgetter(0))]


def _config(table: Ablation, row: Row, base: Config) -> Config:
    steps = base.train.steps and max(1, round(row.part * base.train.steps))
    values = {"train.steps": steps, **table.common, **row.values}
    fixed = {name: value for name, value in values.items() if not callable(value)}
    derived = {name: value(base) for name, value in values.items() if callable(value)}
    return canonical(with_values(base, {**fixed, **derived}))


def _on_validation(base: Config) -> Config:
    """What is chosen on the prompts of the tables would be too good on them."""
    prompts = min(CHOICE_PROMPTS, base.evaluate.prompts)
    return with_values(base, {"evaluate.split": "validation", "evaluate.prompts": prompts})
