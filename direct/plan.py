"""What a profile costs, before anything starts: GPU-hours, memory and disk of every step.

    python -m direct.plan --profile wan2.1-t2v-1.3b --gpu h100-80g --gpus 8 --cells 5

Sizes follow from the transformer's configuration. One number is measured: a clip of the paper's
size takes 85 s on an H200 (App. D), which is 34 % of that GPU's peak; every other duration assumes
the same share (`--share`). Ends with status 1 where a step does not fit the GPU.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .config import Config, profile
from .errors import UserError, nearest
from .hub import PACKAGED
from .settings import override, settings

GB = 1e9


@dataclass(frozen=True)
class Gpu:
    """Makers' data sheets: memory in GB, dense bf16 TFLOP/s with fp32 sums, memory TB/s."""

    memory: float
    peak: float
    bandwidth: float


GPUS = {
    "h200-141g": Gpu(141, 989, 4.8),
    "h100-80g": Gpu(80, 989, 3.35),
    "a100-80g": Gpu(80, 312, 2.0),
    "a100-40g": Gpu(40, 312, 1.56),
    "l40s-48g": Gpu(48, 362, 0.86),
    "rtx4090-24g": Gpu(24, 165, 1.01),
}
# Of the published pipelines, so that the plan needs no download.
WAN = {"attention_head_dim": 128, "in_channels": 16, "out_channels": 16, "text_dim": 4096,
       "freq_dim": 256, "patch_size": [1, 2, 2], "cross_attn_norm": True}  # fmt: skip
KNOWN = {
    "Wan-AI/Wan2.1-T2V-1.3B-Diffusers": WAN
    | {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30},
    "Wan-AI/Wan2.1-T2V-14B-Diffusers": WAN
    | {"num_attention_heads": 40, "ffn_dim": 13824, "num_layers": 40},
}
STRIDES = {"scale_factor_temporal": 4, "scale_factor_spatial": 8}
PAPER_CLIP_SECONDS = 85.0  # on one H200: 50 steps, guidance, 81 frames of 480x832 (App. D)
TEXT_ENCODER, LANGUAGE_MODEL = 5.68e9, 7.62e9  # weights of UMT5-xxl and Qwen2.5-7B
CAPTION_TOKENS = 120  # of a WISA caption, about: their examples have 88 words on average
RESERVED = 3.0 * GB  # assumed: CUDA's own, NCCL's buffers, fragments
BUCKETS = 2e8 * (4 + 4 + 2)  # ZeRO-2's two buffers of fp32 sums and one of bf16 weights
# What a block keeps per token for its backward pass: SAVED_D dim + SAVED_F ffn_dim + SAVED_1 bytes,
# counted on diffusers 0.42.1 in bf16.
SAVED_D, SAVED_F, SAVED_1 = 68, 4, 132
# FLOPs per pixel of Wan's VAE, by torch's FlopCounterMode over 81x480x832; fp32, so half the speed.
VAE_ENCODE, VAE_DECODE = 5.06e6, 8.51e6


@dataclass(frozen=True)
class Shape:
    """A transformer and one clip as it sees it."""

    dim: int
    ffn: int
    layers: int
    weights: int
    latent: tuple[int, int, int, int]  # [C, T, H, W]
    tokens: int
    text: int
    text_dim: int

    def forward(self) -> tuple[float, float]:
        """FLOPs of one forward pass of one clip: of the weights, and of attention."""
        n, m, d = self.tokens, self.text, self.dim
        weights = 12 * n * d**2 + 4 * m * d**2 + 4 * n * d * self.ffn
        return self.layers * weights, self.layers * (4 * n**2 * d + 4 * n * m * d)

    def saved(self) -> float:
        """Bytes that one block keeps of one clip for its backward pass."""
        return self.tokens * (SAVED_D * self.dim + SAVED_F * self.ffn + SAVED_1)


@dataclass(frozen=True)
class Step:
    name: str
    hours: float | None  # of GPUs; None: no GPU, or unknown
    memory: float | None  # bytes of one GPU
    disk: float
    note: str


def shape_of(config: Config) -> Shape:
    """From the pipeline's folder, or from what is known of the published ones."""
    arch, strides = _architecture(config.model.pipeline)
    model, patch = config.model, arch["patch_size"]
    temporal, spatial = strides["scale_factor_temporal"], strides["scale_factor_spatial"]
    frames = (model.frames - 1) // temporal + 1
    latent = (arch["in_channels"], frames, model.height // spatial, model.width // spatial)
    tokens = latent[1] * latent[2] * latent[3] // (patch[0] * patch[1] * patch[2])
    dim = arch["num_attention_heads"] * arch["attention_head_dim"]
    ffn, layers = arch["ffn_dim"], arch["num_layers"]
    text = (model.text_length, arch["text_dim"])
    return Shape(dim, ffn, layers, weights_of(arch), latent, tokens, *text)


def weights_of(arch: dict[str, Any]) -> int:
    """Parameters of a `WanTransformer3DModel` of this configuration."""
    d, f = arch["num_attention_heads"] * arch["attention_head_dim"], arch["ffn_dim"]
    patch = arch["patch_size"][0] * arch["patch_size"][1] * arch["patch_size"][2]
    attention = 4 * (d * d + d) + 2 * d  # q, k, v, out; two norms
    block = 2 * attention + 2 * d * f + f + d + 6 * d + (2 * d if arch["cross_attn_norm"] else 0)
    time = arch["freq_dim"] * d + d + d * d + d + 6 * d * d + 6 * d
    text = arch["text_dim"] * d + d + d * d + d
    ends = arch["in_channels"] * patch * d + d + d * patch * arch["out_channels"]
    ends += patch * arch["out_channels"] + 2 * d
    return int(arch["num_layers"] * block + time + text + ends)


def training_flops(shape: Shape, config: Config) -> float:
    """Of one sample: forward and backward, the recomputed forward, the reference's forward.

    The backward pass costs 2 forward passes of the weights (LoRA: 1, their gradients are not
    needed) and 2.5 of attention, which recomputes its scores.
    """
    train = config.train
    forwards = 1 + train.gradient_checkpointing + (config.loss.lambda_anc > 0)
    weights, attention = shape.forward()
    return weights * (forwards + (1 if train.lora_rank else 2)) + attention * (forwards + 2.5)


def training_memory(shape: Shape, config: Config, gpus: int) -> dict[str, float]:
    """Bytes on one GPU, by what they are."""
    train, p = config.train, shape.weights
    micro = train.micro_batch or -(-train.batch // gpus)
    zero = train.engine == "deepspeed"
    trained = shape.layers * 8 * 2 * shape.dim * train.lora_rank if train.lora_rank else p
    parts = {
        # The engine "torch" holds fp32 weights, and autocast's copy of them.
        "weights": (2.0 if zero else 6.0) * p,
        "optimizer": 16.0 * trained / gpus if zero else 12.0 * trained,
        "reference": 0.0 if train.lora_rank or not config.loss.lambda_anc
        else (2.0 if zero else 4.0) * p,
        "buckets": BUCKETS if zero else 0.0,
    }  # fmt: skip
    kept = 2.0 * shape.tokens * shape.dim  # a block's input, bf16
    blocks = kept + shape.saved() / shape.layers if train.gradient_checkpointing else shape.saved()
    parts["activations"] = micro * (shape.layers * blocks + 4.0 * shape.tokens * shape.ffn)
    return parts | {"reserved": RESERVED}


def drawn(config: Config) -> float:
    """How many of the perturbed prompts a run draws, expected, where each clip has kept all."""
    train, keep, clips = config.train, config.micro.keep, config.data.clips
    if not config.loss.lambda_hard:
        return 0.0
    whole, part = divmod(train.steps * train.batch, clips)  # visits of a clip: whole, or one more
    missed = 1 - (1 - train.prompt_dropout) / keep  # one visit misses a given prompt
    return keep * (clips - (clips - part) * missed**whole - part * missed ** (whole + 1))


def steps(config: Config, gpu: Gpu, gpus: int, share: float) -> Iterator[Step]:
    """Every step of one cell, in order."""
    shape, speed = shape_of(config), gpu.peak * 1e12 * share
    forward, clips = sum(shape.forward()), config.data.clips
    latent = 2.0 * shape.latent[0] * shape.latent[1] * shape.latent[2] * shape.latent[3]
    text, pixels = 2.0 * CAPTION_TOKENS * shape.text_dim, config.model.frames * config.model.height
    vae = pixels * config.model.width / (speed / 2)  # seconds per FLOP per pixel
    inference = 2.0 * shape.weights + 2 * shape.tokens * (20 * shape.dim + 4 * shape.ffn)

    def rendering(settings: Any) -> float:
        return settings.steps * (2 if settings.guidance > 1 else 1) * forward / speed

    yield Step("curate", None, None, 0, "CPU: decodes all 80,000 videos once")
    seconds = 2 * TEXT_ENCODER * CAPTION_TOKENS / speed + VAE_ENCODE * vae
    disk = clips * (latent + text)
    yield Step("encode", clips * seconds / 3600, 2 * TEXT_ENCODER + RESERVED, disk,
               f"{clips:,} clips")  # fmt: skip
    asked = clips * config.micro.candidates
    writing = asked / 16 * CAPTION_TOKENS * 2 * LANGUAGE_MODEL / (gpu.bandwidth * 1e12)
    yield Step("perturb", writing / 3600, 2 * (LANGUAGE_MODEL + TEXT_ENCODER) + RESERVED, 0,
               f"{asked:,} answers; at least: 16 at a time, at the memory's speed")  # fmt: skip
    hard, seconds = drawn(config), rendering(config.hard_sample)
    yield Step("render", hard * seconds / 3600, inference + RESERVED, hard * (latent + text),
               f"{hard:,.0f} negatives of {seconds:.0f} s; shared by a seed's cells")  # fmt: skip
    train = config.train
    step = train.batch * training_flops(shape, config) / (speed * gpus)
    memory = training_memory(shape, config, gpus)
    adapter = train.lora_rank > 0
    yield Step("train", train.steps * step * gpus / 3600, sum(memory.values()),
               (4 if adapter else 4 + 3 * 12) * shape.weights,
               f"a cell: {train.steps:,} steps of {step:.1f} s on {gpus}")  # fmt: skip
    seconds, prompts = rendering(config.sample) + VAE_DECODE * vae, config.evaluate.prompts
    yield Step(
        "evaluate",
        prompts * seconds / 3600,
        inference + RESERVED,
        prompts * (2 * latent + 2e6),
        f"a cell: {prompts} clips; the rater not counted",
    )


def paper_share() -> float:
    """The share of an H200's peak that 85 s per clip is."""
    shape = shape_of(profile("wan2.1-t2v-1.3b"))
    return 100 * sum(shape.forward()) / PAPER_CLIP_SECONDS / (GPUS["h200-141g"].peak * 1e12)


def report(config: Config, name: str, gpus: int, share: float, cells: int) -> tuple[str, bool]:
    """The plan as text, and whether every step fits."""
    gpu, shape = GPUS[name], shape_of(config)
    rows = list(steps(config, gpu, gpus, share))
    lines = [
        f"{config.profile} on {gpus} x {name}: {shape.weights / 1e9:.2f} billion weights, "
        f"{shape.tokens:,} tokens a clip, {sum(shape.forward()) / 1e12:.0f} TFLOP a pass",
        f"{'step':<9}{'GPU-hours':>10}{'GB of ' + f'{gpu.memory:.0f}':>11}{'disk GB':>9}",
    ]
    fits = True
    for row in rows:
        hours = "" if row.hours is None else f"{row.hours:,.1f}"
        memory = "" if row.memory is None else f"{row.memory / GB:.1f}"
        too_much = row.memory is not None and row.memory > gpu.memory * GB
        fits &= not too_much
        verdict = "DOES NOT FIT; " if too_much else ""
        lines.append(
            f"{row.name:<9}{hours:>10}{memory:>11}{row.disk / GB:>9.1f}  {verdict}{row.note}"
        )
    per_cell = sum(row.hours or 0 for row in rows[-2:])
    total = sum(row.hours or 0 for row in rows[:-2]) + cells * per_cell
    lines.append(
        f"{cells} cells of one seed: {total:,.1f} GPU-hours, {total / gpus:,.1f} h on {gpus} GPUs"
    )
    parts = training_memory(shape, config, gpus).items()
    lines.append(
        "training memory, GB: " + ", ".join(f"{part} {b / GB:.1f}" for part, b in parts if b)
    )
    return "\n".join([*lines, *_basis(share, config)]), fits


def _basis(share: float, config: Config) -> list[str]:
    """What the numbers rest on, and what a smaller profile gives up."""
    clips, paper = 33_897, profile("wan2.1-t2v-1.3b")
    lines = [
        f"times: {100 * share:.0f} % of the GPU's peak; measured is only the paper's 85 s a clip "
        f"on an H200, {100 * paper_share():.0f} % of its peak; memory: formulas, not measured",
        f"the paper says 13 GPU-hours for its {clips:,} hard negatives (App. E); at its own "
        f"{PAPER_CLIP_SECONDS:.0f} s a clip they are {clips * PAPER_CLIP_SECONDS / 3600:,.0f}",
    ]
    published, own = settings(paper), settings(config)
    shown = ("model.frames", "data.clips", "train.steps", "train.batch", "train.lora_rank",
             "train.learning_rate", "hard_sample.steps", "evaluate.prompts")  # fmt: skip
    changed = [f"{n} {own[n]:g} (paper: {published[n]:g})" for n in shown if own[n] != published[n]]
    return [*lines, "gives up: " + ", ".join(changed)] if changed else lines


def _architecture(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The transformer's configuration, and the VAE's strides."""
    if (hub_id := name.partition("@")[0]) in KNOWN:  # at any commit
        return KNOWN[hub_id], STRIDES
    folder = PACKAGED if name == "tiny" else Path(name)
    try:
        arch = json.loads((folder / "transformer" / "config.json").read_text())
        strides = json.loads((folder / "vae" / "config.json").read_text())
    except (OSError, ValueError):
        raise UserError(
            f"model.pipeline={name}: the plan knows {', '.join(KNOWN)} and pipeline folders on "
            "this disk; download it and give its folder"
        ) from None
    if arch.get("_class_name") != "WanTransformer3DModel":
        raise UserError(f"{folder} has no Wan transformer; the plan knows no other")
    return arch, STRIDES | strides


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m direct.plan", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--profile", default="wan2.1-t2v-1.3b")
    add("--gpu", default="h100-80g", help=f"one of {', '.join(GPUS)}")
    add("--gpus", type=int, help="ranks of training (default: 4 with DeepSpeed, else 1)")
    add("--cells", type=int, default=5, help="cells that share what is prepared (default: 5)")
    add("--share", type=float, help="of the GPU's peak (default: the paper's, 0.34)")
    add("--set", action="append", default=[], help="a setting, as train.lora_rank=32")
    options = parser.parse_args()
    if options.gpu not in GPUS:
        raise UserError(f"--gpu {options.gpu} is not known; {nearest(options.gpu, GPUS)}")
    config = override(profile(options.profile), *options.set)
    several = config.train.engine == "deepspeed"
    gpus = (4 if several else 1) if options.gpus is None else options.gpus
    share = paper_share() if options.share is None else options.share
    if gpus < 1 or config.train.batch % (gpus * (config.train.micro_batch or 1)):
        raise UserError(
            f"--gpus {gpus} with train.micro_batch={config.train.micro_batch} does not divide "
            f"train.batch={config.train.batch}"
        )
    if gpus > 1 and not several:
        raise UserError(f"--gpus {gpus} needs train.engine=deepspeed; the torch engine is for one")
    if not 0 < share <= 1:
        raise UserError(f"--share {share:g} is no share of the GPU's peak; use above 0, up to 1")
    if options.cells < 1:
        raise UserError(f"--cells {options.cells} is no number of cells; use 1 or more")
    text, fits = report(config, options.gpu, gpus, share, options.cells)
    print(text)
    return 0 if fits else 1


if __name__ == "__main__":
    from .errors import command

    command(main)
