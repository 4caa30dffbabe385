"""The paper's tables, and one of ours beside them: rows, baseline, and the contrasts tested.

Contrasts are fixed here before a run; Holm's adjustment is over exactly these. Every other
difference in a table is shown with its interval and no p value. A row whose label the paper's table
has is the paper's; the others ("ours", `reference=True`) cost little and say what the paper's rows
are worth: the untrained base, and the ablated weight at zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from .schema import SCORES, Ablation, Row

ZERO_SHOT = {"train.steps": 0}
SFT = {"loss.lambda_rand": 0.0, "loss.lambda_hard": 0.0}  # flow matching and the anchor
MANS = {"loss.lambda_hard": 0.0}
MINS = {"loss.lambda_rand": 0.0}


def _grid(setting: str, values: Sequence[float], **more: Any) -> tuple[Row, ...]:
    return tuple(Row(f"{value:g}", {setting: value, **more}) for value in values)


def _tests(
    labels: Sequence[str], metrics: Sequence[str] = ("SA", "PC")
) -> tuple[tuple[str, str], ...]:
    return tuple((label, metric) for label in labels for metric in metrics)


def _curve(name: str, values: dict[str, Any], against: str = "") -> tuple[Row, ...]:
    """The judged points of one training run, in order."""
    return tuple(
        Row(
            f"{name}, {when}",
            values,
            part=part,
            curve=name,
            against=against and f"{against}, {when}",
        )
        for when, part in PARTS.items()
    )


# Where trained rows meet the base, which no seed of training moves with them: as many as leave all
# tables within 90 minutes (docs/log.md).
MANY_SEEDS = tuple(range(8))
K_VALUES = (8, 16, 32, 64, 128)
PARTS = {  # of the training steps; a fifth and a third: 3,000 and 5,000 of the paper's 15,000
    "fifth": Fraction(1, 5),
    "third": Fraction(1, 3),
    "two thirds": Fraction(2, 3),
    "end": Fraction(1),
}
PAPERS_PROFILE = "wan2.1-t2v-1.3b"  # the paper's scale and raters
PEERS = {  # Table 2's other models, by their names in direct.models.peers
    "CogVideoX-2B": "cogvideox-2b",
    "LTX": "ltx-video",
    "Allegro": "allegro",
    "CogVideoX-5B": "cogvideox-5b",
    "Mochi": "mochi",
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
    "MiNS: negatives rendered in 6 steps": {"hard_sample.steps": 6},
    "MiNS: negatives rendered in 3 steps": {"hard_sample.steps": 3},
    "init: SFT for the first half": {"train.init": "sft"},
}

PAPER = (
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
        contrasts=_tests(
            (
                "Zero-shot",
                "+ Random negatives (ΔFM)",
                "+ MaNS",
                "+ MiNS",
                "+ MaNS + MiNS",
                "+ SFT + MaNS + MiNS (DiReCT)",
            )
        ),
        metrics=tuple(SCORES),
        seeds=MANY_SEEDS,
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
        ),
        baseline="0.02",
        contrasts=_tests(("0.005", "0.1")),
        axis="loss.lambda_hard",
        seeds=(0, 1, 2, 3, 4),  # with four, 1.6 points of PC are the least detectable; a row of the
        # base beside them would take it beyond the main command's 8 minutes
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
            Row("DiReCT, reference read from the cache", {}, reference=True, reading="cached"),
        ),
        baseline="SFT",
        contrasts=(("DiReCT", "memory_gb"), ("DiReCT", "seconds_per_iteration")),
        metrics=(
            "memory_gb",
            "seconds_per_iteration",
            "data",
            "forward",
            "reference",
            "loss",
            "backward",
            "update",
        ),
        seeds=(0,),
        unit="blocks",
        plot="measured",
    ),
    Ablation(
        name="clusters",
        table="S5",
        title="Effect of the cluster count K in macro-contrastive sampling (MaNS)",
        header="K",
        rows=(
            *_grid("macro.clusters", K_VALUES),
            # The paper does not say how MaNS uses the law (docs/method.md); here it does not.
            *(
                Row(
                    f"{K}, laws not excluded",
                    {"macro.clusters": K, "macro.exclude_same_law": False},
                    reference=True,
                    against=f"{K}",
                )
                for K in K_VALUES
            ),
        ),
        baseline="32",
        contrasts=_tests(("8", "16", "64", "128")) + _tests(("32, laws not excluded",), ("PC",)),
        axis="macro.clusters",
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
            Row(
                "MaNS, marginal noise (not comparable)",
                {},
                reference=True,
                reading="mans_marginal",
                against="MaNS, marginal noise (not comparable)",
            ),
            Row("same cluster", {}, reference=True, reading="same", against="other cluster"),
            Row("other cluster", {}, reference=True, reading="other", against="other cluster"),
            Row("hard", {}, reference=True, reading="hard", against="other cluster"),
        ),
        baseline="ΔFM (random neg.)",
        contrasts=(
            ("DiReCT-MaNS (ours)", "cosine"),
            ("DiReCT-MaNS (ours)", "deviation"),
            ("same cluster", "a"),
            ("hard", "a"),
        ),
        metrics=("cosine", "deviation", "telemetry", "correlation", "a", "delta", "delta_x"),
        unit="steps",
        plot="measured",
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
        seeds=(0, 1, 2, 3),  # its intervals are of a contrast's own seeds, not pooled
    ),
    Ablation(
        name="sota",
        table="2",
        title="Open models of comparable scale",
        header="Model",
        rows=(
            *(
                Row(label, {**ZERO_SHOT, "model.pipeline": f"peer:{name}"}, profile=PAPERS_PROFILE)
                for label, name in PEERS.items()
            ),
            Row("Wan 2.1-T2V (base)", ZERO_SHOT),
            Row("DiReCT (ours)", {"train.init": "sft"}),
        ),
        baseline="Wan 2.1-T2V (base)",
        contrasts=_tests(("DiReCT (ours)",), ("SA", "PC", "Total")),
        metrics=tuple(SCORES),
        seeds=MANY_SEEDS,
    ),
    Ablation(
        name="beyond",
        table="Beyond the paper",
        title="One setting changed at a time, from MaNS + MiNS",
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
