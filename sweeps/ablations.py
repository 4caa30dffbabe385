"""One declaration per table: its rows, the baseline, and the contrasts that are tested.

Contrasts are fixed here before a run; Holm's adjustment is over exactly these. Every other
difference in a table is shown with its interval and no p value. A row whose label the paper's table
has is the paper's; the others ("ours", `reference=True`) cost little and say what the paper's rows
are worth: the untrained base, and the ablated weight at zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
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
MEASURED = {  # of training itself: Tables S4 and S6
    "cosine": Metric("cosine", 1, 3, _GRADIENTS, 0, printed=2),
    "deviation": Metric("deviation", 1, 3, _GRADIENTS, 0, printed=2),
    "telemetry": Metric("cosine in output space", 1, 3, _KERNEL, 0),
    "correlation": Metric("its r with the cosine", 1, 3, _KERNEL, 0),
    "a": Metric("a", 1, 4, _PROP, 0),
    "delta": Metric("|δ|²/n", 1, 3, _PROP, 0),
    "delta_x": Metric("|δ|²/n without noise", 1, 3, _PROP, 0),
    "memory_gb": Metric("Mem. (GB)", 1, 4, _COST, -1, printed=2),
    "seconds_per_iteration": Metric("Time (s/iter)", 1, 4, _COST, -1, printed=2),
    **{part: Metric(part, 1, 4, _SPLIT, 0)
       for part in ("data", "forward", "reference", "loss", "backward", "update")},
}
METRICS = SCORES | MEASURED
ALL_ROWS = "all rows"  # of a measuring table: readings of one cell, paired step by step


@dataclass(frozen=True)
class Row:
    label: str  # as printed; the key into the paper's table
    values: dict[str, Any]  # settings by dotted name
    reference: bool = False  # ours, not in the paper's table
    against: str = ""  # the row that its differences are taken from; "": the table's baseline
    part: Fraction = Fraction(1)  # of the training steps: a point along the longer run
    curve: str = ""  # rows of one curve are joined in the plot, `part` on its axis
    profile: str = ""  # the only profile that can run it; elsewhere it has no cells
    reading: str = ""  # of a measuring table: the row's metrics are the cell's `<reading>.<metric>`

    @property
    def owner(self) -> str:
        """What the row's cells are called."""
        return ALL_ROWS if self.reading else self.label


@dataclass(frozen=True)
class Ablation:
    name: str
    table: str  # the paper's number, the key into `paper.TABLES`; else what the table is called
    title: str
    header: str  # of the label column
    rows: tuple[Row, ...]
    baseline: str  # the label that differences are taken against
    contrasts: tuple[tuple[str, str], ...]  # (label, metric), against the label's partner
    common: dict[str, Any] = field(default_factory=dict)  # under every row's own settings
    metrics: tuple[str, ...] = ("SA", "PC", "AVG", "PCcap")
    axis: str | None = None  # the setting on the plot's logarithmic axis; None: labels
    seeds: tuple[int, ...] = (0, 1, 2)
    extra: bool = False  # ours: run by name, and by `all` with --extra
    margin: float | None = None  # printed units: rows closer than this to the baseline are alike
    unit: str = "prompts"  # what a number is the mean over; a measuring table: of training

    @property
    def measured(self) -> bool:
        """Whether the rows are readings of training itself, not scores of clips."""
        return self.unit != "prompts"

    @property
    def place(self) -> str:
        """`Table S3`, `Figure 6`, or what a table of ours is called."""
        return self.table if " " in self.table else f"Table {self.table}"

    @property
    def file(self) -> str:
        return self.place.lower().replace(" ", "_")

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


def _curve(name: str, values: dict[str, Any], against: str = "") -> tuple[Row, ...]:
    """The judged points of one training run, in order."""
    return tuple(Row(f"{name}, {when}", values, part=part, curve=name,
                     against=against and f"{against}, {when}") for when, part in PARTS.items())


K_VALUES = (8, 16, 32, 64, 128)
PARTS = {  # of the training steps; a fifth and a third: 3,000 and 5,000 of the paper's 15,000
    "fifth": Fraction(1, 5), "third": Fraction(1, 3), "two thirds": Fraction(2, 3),
    "end": Fraction(1),
}
PEERS = {  # Table 2's other models, by their names in direct.peers
    "CogVideoX-2B": "cogvideox-2b", "LTX": "ltx-video", "Allegro": "allegro",
    "CogVideoX-5B": "cogvideox-5b", "Mochi": "mochi",
}
BEYOND: dict[str, dict[str, Any]] = {
    "negatives' noise: marginal": {"loss.negative_noise": "marginal"},
    "MaNS: in-batch negatives (ΔFM's)": {"macro.sampling": "batch"},
    "MaNS: laws not excluded": {"macro.exclude_same_law": False},
    "MiNS: 1 hard negative kept": {"micro.keep": 1},
    "MiNS: kinematics alone": {"micro.axes": ("kinematics",)},
    "MiNS: forces alone": {"micro.axes": ("forces",)},
    "MiNS: material alone": {"micro.axes": ("material",)},
    "MiNS: interaction alone": {"micro.axes": ("interaction",)},
    "MiNS: magnitude alone": {"micro.axes": ("magnitude",)},
    "init: SFT for the first half": {"train.init": "sft"},
}

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
        metrics=tuple(SCORES),
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
        rows=(
            *_grid("macro.clusters", K_VALUES),
            # The paper does not say how MaNS uses the law (docs/method.md); here it does not.
            *(Row(f"{K}, laws not excluded", {"macro.clusters": K, "macro.exclude_same_law": False},
                  reference=True, against=f"{K}") for K in K_VALUES),
        ),
        baseline="32",
        contrasts=_tests(("8", "16", "64", "128"))
        + _tests(("32, laws not excluded",), ("PC",)),
        axis="macro.clusters",
    ),
    Ablation(
        name="cost",
        table="S4",
        title="Training cost per iteration",
        header="Method",
        common={"measure.kind": "cost"},
        rows=(
            Row("SFT", {}, reading="sft"),
            Row("DiReCT", {}, reading="direct"),
            Row("flow matching alone", {}, reference=True, reading="fm"),
        ),
        baseline="SFT",
        contrasts=(("DiReCT", "memory_gb"), ("DiReCT", "seconds_per_iteration")),
        metrics=("memory_gb", "seconds_per_iteration", "data", "forward", "reference", "loss",
                 "backward", "update"),
        seeds=(0,),
        unit="blocks",
    ),
    Ablation(
        name="alignment",
        table="S6",
        title="Alignment of the flow-matching and the contrastive gradient (cosine)",
        header="Method",
        common={"measure.kind": "alignment"},
        rows=(
            Row("ΔFM (random neg.)", {}, reading="random"),
            Row("DiReCT-MaNS (ours)", {}, reading="mans"),
            Row("MiNS", {}, reference=True, reading="mins"),
            # Another noise: its cosines are no more nor less aligned, they are of something else.
            Row("MaNS, marginal noise (not comparable)", {}, reference=True,
                reading="mans_marginal", against="MaNS, marginal noise (not comparable)"),
            Row("same cluster", {}, reference=True, reading="same", against="other cluster"),
            Row("other cluster", {}, reference=True, reading="other", against="other cluster"),
            Row("hard", {}, reference=True, reading="hard", against="other cluster"),
        ),
        baseline="ΔFM (random neg.)",
        contrasts=(("DiReCT-MaNS (ours)", "cosine"), ("DiReCT-MaNS (ours)", "deviation"),
                   ("same cluster", "a"), ("hard", "a")),
        metrics=("cosine", "deviation", "telemetry", "correlation", "a", "delta", "delta_x"),
        unit="steps",
    ),
    Ablation(
        name="dynamics",
        table="Figure 6",
        title="Scores along training: SFT and DiReCT, from the base model",
        header="Method, share of the steps",
        rows=(
            *_curve("SFT", SFT),
            *_curve("DiReCT", {}, against="SFT"),
            Row("zero-shot", ZERO_SHOT, reference=True, against="SFT, end"),
        ),
        baseline="SFT, end",
        contrasts=_tests([f"DiReCT, {name}" for name in PARTS]),
    ),
    Ablation(
        name="sota",
        table="2",
        title="Open models of comparable scale",
        header="Model",
        rows=(
            *(Row(peer, ZERO_SHOT, profile=name) for peer, name in PEERS.items()),
            Row("Wan 2.1-T2V (base)", ZERO_SHOT),
            Row("DiReCT (ours)", {"train.init": "sft"}),
        ),
        baseline="Wan 2.1-T2V (base)",
        contrasts=_tests(("DiReCT (ours)",), ("SA", "PC", "Total")),
        metrics=tuple(SCORES),
    ),
    Ablation(
        name="beyond",
        table="Beyond the paper",
        title="Beyond the paper: one setting changed at a time, from MaNS + MiNS",
        header="Change",
        rows=(
            Row("none (MaNS + MiNS)", {}),
            *(Row(label, values) for label, values in BEYOND.items()),
        ),
        baseline="none (MaNS + MiNS)",
        contrasts=_tests(tuple(BEYOND)),
        extra=True,
        margin=1.5,
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
            if row.profile not in ("", base.profile):
                continue
            steps = base.train.steps and max(1, round(row.part * base.train.steps))
            values = {"train.steps": steps, "seed": seed}
            config = with_values(base, {**values, **table.common, **row.values})
            cell = Cell(row.owner, canonical(config))
            found.setdefault((cell.row, cell.id), cell)
    return list(found.values())


def canonical(config: Config) -> Config:
    """`config` with every setting that cannot matter at its profile's default.

    So cells that must give the same numbers are one cell, and one run, in all tables.
    """
    default = PROFILES[config.profile]()
    if config.measure.kind != "scores":
        return _measuring(config, default)
    config = replace(config, measure=default.measure)
    if config.train.steps == 0:  # the base model: nothing is drawn, weighed or rendered
        train = replace(default.train, steps=0)
        return replace(config, seed=0, train=train, loss=default.loss, macro=default.macro,
                       micro=default.micro, hard_sample=default.hard_sample)
    if config.loss.lambda_rand == 0:
        config = replace(config, macro=default.macro)
    elif config.macro.sampling != "partition":
        config = replace(config, macro=replace(default.macro, sampling=config.macro.sampling))
    if config.loss.lambda_hard == 0:
        config = replace(config, micro=default.micro, hard_sample=default.hard_sample)
    if config.loss.lambda_rand == config.loss.lambda_hard == 0:
        loss = replace(config.loss, negative_noise=default.loss.negative_noise)
        config = replace(config, loss=loss)
    return config


def _measuring(config: Config, default: Config) -> Config:
    """Nothing is generated or judged, and training is as long as the measurement."""
    train = replace(config.train, steps=default.train.steps)
    config = replace(config, train=train, sample=default.sample, evaluate=default.evaluate)
    measure = config.measure
    if measure.kind == "alignment":  # both noises are measured
        loss = replace(config.loss, negative_noise=default.loss.negative_noise)
        return replace(config, loss=loss,
                       measure=replace(measure, iterations=default.measure.iterations))
    return replace(config, data=default.data, micro=default.micro, hard_sample=default.hard_sample,
                   measure=replace(measure, steps=default.measure.steps))
