"""The claims of the paper about Tables 1, 2, S1 to S6, Figure 6 and Proposition 1, as contrasts.

Declared before any run. A claim holds when every one of its contrasts does. `more(a, b)` says that
row a scores higher than row b; `alike(a, b, margin)` that they differ by less than the margin, in
printed units. Margins: differences that the paper itself calls nothing, rounded up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Contrast:
    """`sum weight x score[row, metric]` is above 0, or within `margin` of 0. Printed units."""

    terms: tuple[tuple[float, str, str], ...]  # (weight, row, metric)
    margin: float | None = None


@dataclass(frozen=True)
class Claim:
    name: str  # stable; the row in claims.md
    sweep: str  # whose table tests it
    place: str  # in the paper
    text: str
    contrasts: tuple[Contrast, ...]
    note: str = ""


def more(a: str, b: str | Sequence[str], *metrics: str) -> tuple[Contrast, ...]:
    others = [b] if isinstance(b, str) else b
    return tuple(Contrast(((1, a, m), (-1, other, m))) for other in others for m in metrics)


def alike(a: str, b: str | Sequence[str], metric: str, margin: float) -> tuple[Contrast, ...]:
    others = [b] if isinstance(b, str) else b
    return tuple(Contrast(((1, a, metric), (-1, x, metric)), margin) for x in others)


def sign(weight: float, row: str, metric: str) -> tuple[Contrast, ...]:
    return (Contrast(((weight, row, metric),)),)


BASE, SFT, RANDOM = "Zero-shot", "+ SFT", "+ Random negatives (ΔFM)"
MANS, MINS, BOTH, DIRECT = "+ MaNS", "+ MiNS", "+ MaNS + MiNS", "+ SFT + MaNS + MiNS (DiReCT)"
OURS, PEERS = "DiReCT (ours)", ("CogVideoX-2B", "LTX", "Allegro", "CogVideoX-5B", "Mochi")
COLUMNS = ("SA", "PC", "AVG", "Instr", "Frame", "Temp", "Mass", "Penetr", "Total")

CLAIMS = (
    Claim(
        "random-hurts-sa",
        "sampling",
        "Sec. 5.4",
        "Random negatives lower SA.",
        more(BASE, RANDOM, "SA") + more(SFT, RANDOM, "SA"),
        "The paper's 5.43 % is relative, to zero-shot.",
    ),
    Claim(
        "random-hurts-total",
        "sampling",
        "Sec. 5.4",
        "Random negatives lower Total.",
        more(BASE, RANDOM, "Total"),
    ),
    Claim(
        "mans-mends",
        "sampling",
        "Sec. 5.4",
        "MaNS tackles the harm of random negatives: higher SA and Total at the same weight.",
        more(MANS, RANDOM, "SA", "Total"),
        "Only the exclusion differs: 3 % of the draws at K = 32, more with laws excluded.",
    ),
    Claim(
        "mans-physics",
        "sampling",
        "Sec. 5.4",
        "MaNS raises Mass and Penetration.",
        more(MANS, BASE, "Mass", "Penetr"),
    ),
    Claim(
        "mins-temporal",
        "sampling",
        "Sec. 5.4",
        "MiNS raises Temporal Common Sense, more than MaNS does.",
        more(MINS, (BASE, MANS), "Temp"),
    ),
    Claim(
        "each-beats-sft",
        "sampling",
        "Table 1",
        "MaNS and MiNS each raise PC over SFT.",
        more(MANS, SFT, "PC") + more(MINS, SFT, "PC"),
    ),
    Claim(
        "complementary",
        "sampling",
        "Sec. 5.4",
        "Combined, MaNS and MiNS surpass each alone across all metrics.",
        more(BOTH, (MANS, MINS), *COLUMNS),
        "In the paper's own table Instr. and Frame are ties.",
    ),
    Claim(
        "direct-pc",
        "sampling",
        "Abstract",
        "DiReCT raises PC over the base model and SFT.",
        more(DIRECT, (BASE, SFT), "PC"),
    ),
    Claim(
        "direct-best",
        "sampling",
        "Sec. 5.4",
        "DiReCT achieves the best scores on all metrics.",
        more(DIRECT, (BASE, SFT, RANDOM, MANS, MINS, BOTH), *COLUMNS),
        "Not in the paper's own table: Instr. is 2.17 against 2.18.",
    ),
    Claim(
        "direct-instr",
        "sampling",
        "Sec. 5.4",
        "DiReCT maintains instruction following.",
        alike(DIRECT, BASE, "Instr", 0.05),
    ),
    Claim(
        "sft-adds",
        "sampling",
        "Sec. 5.4",
        "SFT first adds to MaNS + MiNS.",
        more(DIRECT, BOTH, "AVG", "Total"),
        "What the row adds is our reading: init from SFT.",
    ),
    Claim(
        "sota-base",
        "sota",
        "Abstract",
        "DiReCT is above its base model in PC and Total.",
        more(OURS, "Wan 2.1-T2V (base)", "PC", "Total"),
    ),
    Claim(
        "sota-total",
        "sota",
        "Sec. 5.5",
        "DiReCT has the highest Total of all models.",
        more(OURS, (*PEERS, "Wan 2.1-T2V (base)"), "Total"),
    ),
    Claim(
        "sota-pc",
        "sota",
        "Sec. 5.5",
        "Only CogVideoX-5B has a higher PC than DiReCT.",
        more(OURS, [peer for peer in PEERS if peer != "CogVideoX-5B"], "PC")
        + more("CogVideoX-5B", OURS, "PC"),
    ),
    Claim(
        "sota-mochi",
        "sota",
        "Sec. 5.5",
        "DiReCT's AVG is competitive with Mochi's.",
        alike(OURS, "Mochi", "AVG", 0.5),
        "0.10 points in the paper.",
    ),
    Claim(
        "anchor-best",
        "lambda_anc",
        "App. C",
        "λ_anc = 0.2 has the best AVG.",
        more("0.2", ("0.1", "0.3"), "AVG"),
    ),
    Claim(
        "anchor-low",
        "lambda_anc",
        "App. C",
        "A lower λ_anc lets SA drop.",
        more("0.2", "0.1", "SA"),
    ),
    Claim(
        "anchor-high", "lambda_anc", "App. C", "A higher λ_anc limits PC.", more("0.2", "0.3", "PC")
    ),
    Claim(
        "rand-best",
        "lambda_rand",
        "App. C",
        "λ_rand = 0.005 balances both: the best AVG.",
        more("0.005", ("0.001", "0.02"), "AVG"),
    ),
    Claim(
        "rand-low",
        "lambda_rand",
        "App. C",
        "λ_rand = 0.001 separates too little: lower PC.",
        more("0.005", "0.001", "PC"),
    ),
    Claim(
        "rand-high",
        "lambda_rand",
        "App. C",
        "λ_rand = 0.02 degrades SA.",
        more("0.005", "0.02", "SA"),
    ),
    Claim(
        "hard-best",
        "lambda_hard",
        "Table S3",
        "λ_hard = 0.02 has the best AVG.",
        more("0.02", ("0.005", "0.1"), "AVG"),
    ),
    Claim(
        "hard-high",
        "lambda_hard",
        "App. C",
        "λ_hard = 0.1 degrades SA and PC.",
        more("0.02", "0.1", "SA", "PC"),
    ),
    Claim(
        "hard-range",
        "lambda_hard",
        "App. C",
        "λ_hard tolerates a wider range than λ_rand.",
        (),
        "No contrast: the paper does not say which loss of score ends a range.",
    ),
    Claim(
        "clusters-peak",
        "clusters",
        "App. G",
        "SA, PC and AVG all peak at K = 32.",
        more("32", ("8", "16", "64", "128"), "SA", "PC", "AVG"),
    ),
    Claim("clusters-pc8", "clusters", "App. G", "PC drops at K = 8.", more("32", "8", "PC")),
    Claim(
        "clusters-u",
        "clusters",
        "App. G",
        "An inverted U: K = 16 above 8, K = 64 above 128.",
        more("16", "8", "AVG") + more("64", "128", "AVG"),
    ),
    Claim(
        "clusters-sa",
        "clusters",
        "App. G",
        "SA is relatively stable across K.",
        alike("32", ("8", "16", "64", "128"), "SA", 1.5),
        "The paper's range is 1.39 points.",
    ),
    Claim(
        "clusters-gradual",
        "clusters",
        "App. G",
        "The decline at large K is gradual: AVG at K = 64 is close to K = 32.",
        alike("32", "64", "AVG", 1.0),
        "0.79 points in the paper.",
    ),
    Claim(
        "clusters-pc-most",
        "clusters",
        "App. G",
        "PC is the most sensitive to K: from 8 to 32 it gains more than SA.",
        (Contrast(((1, "32", "PC"), (-1, "8", "PC"), (-1, "32", "SA"), (1, "8", "SA"))),),
    ),
    Claim(
        "cost-time",
        "cost",
        "App. E",
        "DiReCT's seconds per iteration are SFT's, within 2 %.",
        tuple(
            Contrast(
                (
                    (x, "DiReCT", "seconds_per_iteration"),
                    (-x * 1.02**-x, "SFT", "seconds_per_iteration"),
                )
            )
            for x in (-1, 1)
        ),
    ),
    Claim(
        "cost-memory",
        "cost",
        "App. E",
        "DiReCT needs about 7 GB (31 %) more memory.",
        (Contrast(((1, "DiReCT", "memory_gb"), (-1.2, "SFT", "memory_gb"))),),
        "Tested as more than 20 %. Cached negative latents are 34 MB, not 7 GB.",
    ),
    Claim(
        "cosine-random",
        "alignment",
        "App. H",
        "Random negatives' cosine is above 0.",
        sign(1, "ΔFM (random neg.)", "cosine"),
    ),
    Claim(
        "cosine-mans",
        "alignment",
        "App. H",
        "MaNS' cosine is below 0.",
        sign(-1, "DiReCT-MaNS (ours)", "cosine"),
    ),
    Claim(
        "cosine-deviation",
        "alignment",
        "App. H",
        "MaNS' cosine deviates less between steps.",
        more("ΔFM (random neg.)", "DiReCT-MaNS (ours)", "deviation"),
    ),
    Claim(
        "proposition-1",
        "alignment",
        "Prop. 1",
        "The smaller δ, the stronger the conflict: a of other-cluster negatives is above that of "
        "same-cluster and of hard ones.",
        more("other cluster", ("same cluster", "hard"), "a"),
        "With independent noise |δ|²/n is at least 2, so the limit δ → 0 does not occur.",
    ),
    Claim(
        "sft-plateaus",
        "dynamics",
        "Sec. 5.6",
        "SFT plateaus after a third of the steps: PC at the end is that at a third.",
        alike("SFT, end", "SFT, third", "PC", 0.5),
    ),
    Claim(
        "sft-gain",
        "dynamics",
        "App. F",
        "SFT gains next to nothing over the base model.",
        alike("SFT, end", "zero-shot", "SA", 0.5) + alike("SFT, end", "zero-shot", "PC", 0.5),
        "0.32 SA and 0.48 PC in the text, at SFT's best; Table 1 prints −0.07 and +1.59.",
    ),
    Claim(
        "direct-stays",
        "dynamics",
        "App. F",
        "DiReCT plateaus at the end, it does not decline.",
        alike("DiReCT, end", "DiReCT, two thirds", "PC", 1.0),
    ),
    Claim(
        "direct-goes-on",
        "dynamics",
        "Sec. 5.6",
        "DiReCT goes on improving after that.",
        more("DiReCT, end", "DiReCT, third", "PC"),
    ),
    Claim(
        "gap-widens",
        "dynamics",
        "App. F",
        "The gap in PC widens along training.",
        (
            Contrast(
                (
                    (1, "DiReCT, end", "PC"),
                    (-1, "SFT, end", "PC"),
                    (-1, "DiReCT, fifth", "PC"),
                    (1, "SFT, fifth", "PC"),
                )
            ),
        ),
    ),
    Claim(
        "gap-widens-sa",
        "dynamics",
        "App. F",
        "The gap in SA widens as well.",
        (
            Contrast(
                (
                    (1, "DiReCT, end", "SA"),
                    (-1, "SFT, end", "SA"),
                    (-1, "DiReCT, fifth", "SA"),
                    (1, "SFT, fifth", "SA"),
                )
            ),
        ),
    ),
)
