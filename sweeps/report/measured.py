"""What is said beside tables of measurements: where their numbers come from, what they can say."""

from __future__ import annotations

from .. import paper
from ..table import Table


def source(table: Table) -> str:
    """What was measured on what, beside what was published."""
    config, found = table.config, table.provenance
    train, model = config.train, config.model
    clip = f"{model.frames} × {model.height} × {model.width}"
    if table.ablation.name == "gain":
        return (
            f"Measured after each training of profile {config.profile}, {train.steps} steps, "
            "against the SFT run of the same seed, on 64 training clips."
        )
    if table.ablation.name == "alignment":
        return (
            f"Ours: profile {config.profile}, the first {config.measure.steps} steps of its "
            f"training by Eq. 6, batch {train.batch} of {clip}; the published: {paper.SCALE}, "
            "first 1,000 steps. Models and data differ: compare signs and rows, not values."
        )
    device = ", ".join(found.get("device", ["no device yet"]))
    size = "".join(f", {count:,} parameters" for count in found.get("parameters", []))
    return (
        f"Ours: {device}, {config.threads} thread{'s' * (config.threads > 1)}, profile "
        f"{config.profile}{size}, random weights, batch {train.batch} of {clip}, "
        f"{model.dtype}, {train.engine}; the published: Wan 2.1-1.3B at 480 × 832 (81 frames), "
        "global batch 8, ZeRO-2 on H200s. Compare rows, not values."
    )


def notes(table: Table) -> list[str]:
    """How each column was measured."""
    own = {"alignment": _alignment, "cost": _cost, "gain": _gain}
    return own.get(table.ablation.name, list)()


def _gain() -> list[str]:
    return [
        "Regression through the origin of v_contrast − v_sft on v_sft + x_ref, over all elements, "
        "at t = 0.2, 0.5, 0.8 and 0.95; a number is the mean of the four. Predicted: "
        "λ / (1 − λ + λ_anc), λ = λ_rand + λ_hard (docs/theory.md, T2).",
        "About the mean negative: x_ref is the mean of what the training draws for the clip; about "
        "the mean clip: of all training clips. R² is about zero: 1 − R² is what was learnt "
        "besides the gain.",
        "The reference's own part: |x_ref − x_bar| / |v_sft + x_ref|, the share of a gain that the "
        "choice of negatives (K, laws, MiNS) can change.",
    ]


def _alignment() -> list[str]:
    return [
        "Cosine (Eq. 13): of the gradient of the flow-matching loss and that of the contrastive "
        "loss (not of its negative; λ cancels), in fp32, over all trainable parameters and the "
        "whole batch, all rows at the same weights, on the same batch and with the same noise of "
        "the negatives. Above 0, subtracting the contrastive gradient works against flow matching. "
        "The header's arrow in the paper contradicts its text: no value is bold.",
        "Deviation: standard deviation over steps. Its intervals and those of r come from a "
        "jackknife over steps.",
        "The kernel's telemetry: Σ w⟨v − u+, v − u−⟩ over the norms, the same cosine before the "
        "model's Jacobian, free of cost; r is its correlation with the cosine over steps.",
        "Marginal noise (the negatives' noise replaced by its mean) has the same mean gradient and "
        "another cosine: that row is not comparable with the others.",
        "Proposition 1: a = ⟨u+ − v, v − u−⟩/n (Eq. 9) against δ = u+ − u−. For a negative drawn "
        "independently of the sample the mean of a is 0 at the optimum whatever δ is, and with "
        "independent noise |δ|²/n is at least 2 in expectation: the paper's limit δ → 0 does not "
        "occur. One sample's sign is mostly noise; these are means over all samples.",
    ]


def _cost() -> list[str]:
    return [
        "The methods take turns, iteration by iteration, on one engine; a reading is the median of "
        "a block of consecutive iterations. Random data of the real sizes is read through the real "
        "cache: cost depends on neither weights nor clips.",
        "Memory: the most bytes that tensors of this method alone hold at one time, as torch's "
        "allocator counts them, over its first two steps (on a CPU by the profiler; not the "
        "process's resident set). GB are 10⁹ bytes. It does not vary: its interval has no width.",
        "Loss: Eq. 6 with its gradient with respect to v, the noise, x_t, and what is logged. "
        "Update: clipping and AdamW.",
        "Two micro-batches' cached negative latents are 34 MB at the paper's size, not its 7 GB.",
    ]
