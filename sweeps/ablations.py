"""One declaration per table: its rows, the baseline, and the contrasts that are tested.

Contrasts are fixed here before a run; Holm's adjustment is over exactly these. Every other
difference in a table is shown with its interval and no p value. A row whose label the paper's table
has is the paper's; the others ("ours", `reference=True`) cost little and say what the paper's rows
are worth: the untrained base, and the ablated weight at zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from direct.config import PROFILES, Config, identity, with_values

from . import paper


@dataclass(frozen=True)
class Metric:
    """A column. Scores are stored in the judge's units; a table shows `scale` times them."""

    title: str
    scale: float
    decimals: int
    group: str  # the column group of the paper, or "ours"


METRICS = {
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


@dataclass(frozen=True)
class Row:
    label: str  # as printed; the key into the paper's table
    values: dict[str, Any]  # settings by dotted name
    reference: bool = False  # ours, not in the paper's table


@dataclass(frozen=True)
class Ablation:
    name: str
    table: str  # the paper's number, the key into `paper.TABLES`
    title: str
    header: str  # of the label column
    rows: tuple[Row, ...]
    baseline: str  # the label that differences are taken against
    contrasts: tuple[tuple[str, str], ...]  # (label, metric), against the baseline
    common: dict[str, Any] = field(default_factory=dict)  # under every row's own settings
    metrics: tuple[str, ...] = ("SA", "PC", "AVG", "PCcap")
    axis: str | None = None  # the setting on the plot's logarithmic axis; None: labels
    seeds: tuple[int, ...] = (0, 1, 2)

    @property
    def file(self) -> str:
        return f"table_{self.table.lower()}"

    @property
    def published(self) -> dict[str, dict[str, float]]:
        return paper.TABLES[self.table]


@dataclass(frozen=True)
class Cell:
    """One configuration and one seed. `row` is the label it stands under in this table."""

    row: str
    config: Config

    @property
    def id(self) -> str:
        return identity(self.config)


ZERO_SHOT = {"train.steps": 0}
SFT = {"loss.lambda_rand": 0.0, "loss.lambda_hard": 0.0}  # flow matching and the anchor
MANS = {"loss.lambda_hard": 0.0}
MINS = {"loss.lambda_rand": 0.0}


def _grid(setting: str, values: Sequence[float], **more: Any) -> tuple[Row, ...]:
    return tuple(Row(f"{value:g}", {setting: value, **more}) for value in values)


def _tests(labels: Sequence[str], metrics: Sequence[str] = ("SA", "PC")
           ) -> tuple[tuple[str, str], ...]:
    return tuple((label, metric) for label in labels for metric in metrics)


_ALL = (
    Ablation(
        name="sampling",
        table="1",
        title="Negative sampling strategy",
        header="Method",
        rows=(
            Row("Zero-shot", ZERO_SHOT),
            Row("+ SFT", SFT),
            # The same loss and weight as MaNS: only the exclusion differs.
            Row("+ Random negatives (ΔFM)", {**MANS, "macro.sampling": "uniform"}),
            Row("+ MaNS", MANS),
            Row("+ MiNS", MINS),
            Row("+ MaNS + MiNS", {}),
            Row("+ SFT + MaNS + MiNS (DiReCT)", {"train.init": "sft"}),
        ),
        baseline="+ SFT",
        contrasts=_tests(("Zero-shot", "+ Random negatives (ΔFM)", "+ MaNS", "+ MiNS",
                          "+ MaNS + MiNS", "+ SFT + MaNS + MiNS (DiReCT)")),
        metrics=tuple(METRICS),
    ),
    Ablation(
        name="lambda_anc",
        table="S1",
        title="Sensitivity to the anchoring strength λ_anc (SFT only, no contrastive terms)",
        header="λ_anc",
        common=SFT,
        rows=(
            *_grid("loss.lambda_anc", (0.1, 0.2, 0.3)),
            Row("0 (no anchor)", {"loss.lambda_anc": 0.0}, reference=True),
            Row("zero-shot", ZERO_SHOT, reference=True),
        ),
        baseline="0.2",
        contrasts=_tests(("0.1", "0.3")),
        axis="loss.lambda_anc",
    ),
    Ablation(
        name="lambda_rand",
        table="S2",
        title="Sensitivity to the macro-contrastive strength λ_rand (λ_anc = 0.2, λ_hard = 0.01)",
        header="λ_rand",
        common={"loss.lambda_anc": 0.2, "loss.lambda_hard": 0.01},
        rows=(
            *_grid("loss.lambda_rand", (0.001, 0.005, 0.02)),
            Row("0 (MiNS only)", {"loss.lambda_rand": 0.0}, reference=True),
            Row("zero-shot", ZERO_SHOT, reference=True),
        ),
        baseline="0.005",
        contrasts=_tests(("0.001", "0.02")),
        axis="loss.lambda_rand",
    ),
    Ablation(
        name="lambda_hard",
        table="S3",
        title="Sensitivity to the micro-contrastive strength λ_hard (λ_anc = 0.2, λ_rand = 0.005)",
        header="λ_hard",
        common={"loss.lambda_anc": 0.2, "loss.lambda_rand": 0.005},
        rows=(
            *_grid("loss.lambda_hard", (0.005, 0.02, 0.1)),
            Row("0 (MaNS only)", MANS, reference=True),
            Row("zero-shot", ZERO_SHOT, reference=True),
        ),
        baseline="0.02",
        contrasts=_tests(("0.005", "0.1")),
        axis="loss.lambda_hard",
    ),
    Ablation(
        name="clusters",
        table="S5",
        title="Effect of the cluster count K in macro-contrastive sampling (MaNS)",
        header="K",
        rows=_grid("macro.clusters", (8, 16, 32, 64, 128)),
        baseline="32",
        contrasts=_tests(("8", "16", "64", "128")),
        axis="macro.clusters",
    ),
)
ABLATIONS = {ablation.name: ablation for ablation in _ALL}


def cells(table: Ablation, base: Config, seeds: Sequence[int]) -> list[Cell]:
    """The table's cells, seed by seed, so that a part of the seeds is already a whole table.

    Rows of one configuration share one cell; a zero-shot row has one cell whatever the seeds.
    """
    found: dict[tuple[str, str], Cell] = {}
    for seed in seeds:
        for row in table.rows:
            config = with_values(base, {**table.common, **row.values, "seed": seed})
            cell = Cell(row.label, canonical(config))
            found.setdefault((cell.row, cell.id), cell)
    return list(found.values())


def canonical(config: Config) -> Config:
    """`config` with every setting that cannot matter at its profile's default.

    So cells that must give the same numbers are one cell, and one run, in all tables.
    """
    default = PROFILES[config.profile]()
    if config.train.steps == 0:  # the base model: nothing is drawn, weighed or rendered
        train = replace(default.train, steps=0)
        return replace(config, seed=0, train=train, loss=default.loss, macro=default.macro,
                       micro=default.micro, hard_sample=default.hard_sample)
    if config.loss.lambda_rand == 0:
        config = replace(config, macro=default.macro)
    if config.loss.lambda_hard == 0:
        config = replace(config, micro=default.micro, hard_sample=default.hard_sample)
    return config
