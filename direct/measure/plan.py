"""What a profile costs, before anything starts: GPU-hours, memory and disk of every step.

Sizes are counted on the pipeline's real classes (`counted.py`). One number is measured: a clip
of the paper's size takes 85 s on an H200 (App. D), which is 34 % of that GPU's peak; every other
duration assumes the same share (`--share`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..config import Config, Train
from ..profiles import profile
from ..settings import settings
from . import cheap

if TYPE_CHECKING:
    from .counted import Counts

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
PAPER_CLIP_SECONDS = 85.0  # on one H200: 50 steps, guidance, 81 frames of 480x832 (App. D)
TEXT_ENCODER, LANGUAGE_MODEL = 5.68e9, 7.62e9  # weights of UMT5-xxl (T5-xxl: 4.76e9), Qwen2.5-7B
SIZES = (  # what smaller profiles give up
    "model.frames",
    "data.clips",
    "train.steps",
    "train.batch",
    "train.lora_rank",
    "train.learning_rate",
    "hard_sample.steps",
    "evaluate.prompts",
)
CAPTION_TOKENS = 120  # of a WISA caption, about: their examples have 88 words on average
RESERVED = 3.0 * GB  # assumed: CUDA's own, NCCL's buffers, fragments
BUCKETS = 2e8 * (4 + 4 + 2)  # ZeRO-2's two buffers of fp32 sums and one of bf16 weights


@dataclass(frozen=True)
class Step:
    name: str
    hours: float | None  # of GPUs; None: no GPU, or unknown
    memory: float | None  # bytes of one GPU
    host: float | None  # bytes of main memory for all GPUs' processes together
    disk: float
    note: str
    items: float = 0  # how many clips, prompts or training steps these hours are for


def count(config: Config) -> Counts:
    from .counted import count  # torch: seconds that --help does not take

    # Only what is counted, so that configurations that differ in other settings are counted once.
    train = Train(lora_rank=config.train.lora_rank)
    return count(Config(profile=config.profile, model=config.model, train=train))


def ranks(config: Config) -> int:
    """GPUs that training is planned for where nobody says how many."""
    return 1 if config.train.engine == "torch" else 4


def training_flops(clip: Counts, config: Config) -> float:
    """Of one sample: forward and backward, the recomputed forward, the reference's forward.

    The backward pass costs 2 forward passes of the weights (LoRA: 1, their gradients are not
    needed) and 2.5 of attention, which recomputes its scores.
    """
    train = config.train
    forwards = 1 + train.gradient_checkpointing + (config.loss.lambda_anc > 0)
    backward = (1 if train.lora_rank else 2) * clip.linear + 2.5 * clip.attention
    return forwards * clip.forward + backward


def reference_cache(clip: Counts, config: Config) -> tuple[float, float]:
    """Bytes of a seed's reference velocities; FLOPs that each cell which reads them saves."""
    train = config.train
    if train.reference_cache == "off" or not config.loss.lambda_anc:
        return 0.0, 0.0
    samples = train.steps * train.batch
    return samples * clip.item * math.prod(clip.latent), samples * clip.forward


def training_memory(clip: Counts, config: Config, gpus: int) -> dict[str, float]:
    """Bytes on one GPU, by what they are."""
    train, p, item = config.train, clip.weights, clip.item
    micro = train.micro_batch or -(-train.batch * train.context_parallel // gpus)
    zero, shards = train.engine == "deepspeed", gpus if train.engine == "fsdp" else 1
    parts = {
        # The engine "torch" holds fp32 weights, and autocast's copy of them.
        "weights": (item if zero or item == 4 else 4.0 + item) * p,
        "optimizer": 16.0 * clip.trained / gpus if zero else 12.0 * clip.trained / shards,
        "reference": 0.0
        if train.lora_rank or not config.loss.lambda_anc
        else (item if zero else 4.0) * p / shards,
        "buckets": BUCKETS if zero else 0.0,
    }
    if train.engine == "fsdp":
        # Cut, but for the block at work: it and the next one whole, autocast's copy of it, and its
        # gradients, which are whole twice while they are summed.
        parts["weights"] = 4.0 * p / gpus
        parts["buckets"] = (2 * 4 + item + 2 * 4) * p / clip.layers
    # With checkpointing one block's tensors at a time are kept, once it is computed again.
    block = clip.kept / clip.layers
    kept = clip.checkpointed + block if train.gradient_checkpointing else clip.kept
    parts["activations"] = micro * (kept + 2 * clip.widest) / train.context_parallel
    return parts | {"reserved": RESERVED}


def training_host_memory(clip: Counts, config: Config) -> float:
    """Bytes of main memory, of all ranks together: the most of loading, saving and exporting.

    Ranks map the start's fp32 weights, one file for all. Rank 0 holds the gathered masters and
    moments while it saves, and the masters beside the start's weights while it exports.
    """
    start, trained = 4.0 * clip.weights, 4.0 * clip.trained
    if config.train.engine != "torch":
        return max(start, 3 * trained, start + trained)
    return max(start, 2 * trained)


def drawn(config: Config, seeds: int = 1) -> float:
    """How many of the perturbed prompts runs of so many seeds draw, expected, of those kept."""
    train, keep, clips = config.train, config.micro.keep, config.data.clips
    if not config.loss.lambda_hard:
        return 0.0
    visits = seeds * train.steps * train.batch
    whole, part = divmod(visits, clips)  # visits of a clip: whole, or one more
    chosen = 1 if config.loss.hard_negative == "mean" else 1 / keep  # of a visit with its prompt
    missed = 1 - (1 - train.prompt_dropout) * chosen  # one visit misses a given prompt
    return keep * (clips - (clips - part) * missed**whole - part * missed ** (whole + 1))


def steps(config: Config, gpu: Gpu, gpus: int, share: float) -> Iterator[Step]:
    """Every step of one cell, in order."""
    clip, clips = count(config), config.data.clips
    speed = gpu.peak * 1e12 * share * 2 / clip.item
    vae = gpu.peak * 1e12 * share / 2  # in fp32
    latent, text = clip.item * math.prod(clip.latent), clip.item * CAPTION_TOKENS * clip.text_dim
    # Guidance makes two of a clip; of a block, some ten tensors as its input live at a time.
    sampled_with = clip.experts * clip.weights
    inference = clip.item * sampled_with + 2 * (10 * clip.hidden + 2 * clip.widest)

    # Each GPU's process reads its model into main memory, in the precision that it runs in.
    loading = gpus * clip.item * sampled_with
    yield Step("curate", None, None, None, 0, "CPU: decodes all 80,000 videos once")
    seconds = 2 * TEXT_ENCODER * CAPTION_TOKENS / speed + clip.encode / vae
    disk = clips * (latent + text)
    yield Step(
        "encode",
        clips * seconds / 3600,
        2 * TEXT_ENCODER + RESERVED,
        gpus * 2 * TEXT_ENCODER,
        disk,
        f"{clips:,} clips",
        clips,
    )
    asked = clips * config.micro.candidates
    writing = asked / 16 * CAPTION_TOKENS * 2 * LANGUAGE_MODEL / (gpu.bandwidth * 1e12)
    yield Step(
        "perturb",
        writing / 3600,
        2 * (LANGUAGE_MODEL + TEXT_ENCODER) + RESERVED,
        2 * (LANGUAGE_MODEL + TEXT_ENCODER),
        0,
        f"{asked:,} answers; at least: 16 at a time, at the memory's speed",
        clips,
    )
    hard, seconds = drawn(config), cheap.flops(config) / speed
    yield Step(
        "render",
        hard * seconds / 3600,
        inference + RESERVED,
        loading,
        hard * (latent + text),
        f"{hard:,.0f} negatives of {seconds:.0f} s; shared by a seed's cells",
        hard,
    )
    train = config.train
    step = train.batch * training_flops(clip, config) / (speed * gpus)
    memory = training_memory(clip, config, gpus)
    velocities, saved = reference_cache(clip, config)
    if velocities:
        held = memory["reference"] / GB
        note = f"a seed's, where there is room: each cell but the first {saved / speed / 3600:.1f}"
        note += f" GPU-hours and {held:.1f} GB less"
        yield Step("reference", None, None, None, velocities, note)
    adapter = train.lora_rank > 0
    yield Step(
        "train",
        train.steps * step * gpus / 3600,
        sum(memory.values()),
        training_host_memory(clip, config),
        (4 if adapter else 4 + 3 * 12) * clip.weights,
        f"a cell: {train.steps:,} steps of {step:.1f} s on {gpus}",
        train.steps,
    )
    sampled, prompts = config.sample.passes * clip.forward, config.evaluate.prompts
    seconds = sampled / speed + clip.decode / vae
    yield Step(
        "evaluate",
        prompts * seconds / 3600,
        inference + RESERVED,
        loading,
        prompts * (2 * latent + 2e6),
        f"a cell: {prompts} clips; the rater not counted",
        prompts,
    )


def paper_share() -> float:
    """The share of an H200's peak that 85 s per clip is."""
    forward = count(profile("wan2.1-t2v-1.3b")).forward
    return 100 * forward / PAPER_CLIP_SECONDS / (GPUS["h200-141g"].peak * 1e12)


def point_hours(clip: Counts, config: Config, gpu: Gpu, share: float) -> tuple[float, float]:
    """GPU-hours of judging a trained cell once more: without guidance, and with it."""
    rate = gpu.peak * 1e12 * share
    passes = clip.forward * config.sample.steps / (rate * 2 / clip.item)
    decoding = clip.decode / (rate / 2)
    hours = config.evaluate.prompts / 3600
    return hours * (passes + decoding), hours * (2 * passes + decoding)


def report(
    config: Config, name: str, gpus: int, share: float, cells: int, points: int = 0
) -> tuple[str, bool]:
    """The plan as text, and whether every step fits.

    points: evaluations of these cells at another guidance or gain, which train nothing.
    """
    gpu, clip = GPUS[name], count(config)
    rows = list(steps(config, gpu, gpus, share))
    lines = [
        f"{config.profile} on {gpus} x {name}: "
        f"{f'{clip.experts} x ' if clip.experts > 1 else ''}{clip.weights / 1e9:.2f} "
        f"billion weights, "
        f"{clip.tokens:,} tokens a clip, {clip.forward / 1e12:.0f} TFLOP a pass",
        f"{'step':<9}{'GPU-hours':>10}{'GB of ' + f'{gpu.memory:.0f}':>11}{'host GB':>9}"
        f"{'disk GB':>9}",
    ]
    fits = True
    for row in rows:
        hours = "" if row.hours is None else f"{row.hours:,.1f}"
        memory = "" if row.memory is None else f"{row.memory / GB:.1f}"
        host = "" if row.host is None else f"{row.host / GB:.1f}"
        too_much = row.memory is not None and row.memory > gpu.memory * GB
        fits &= not too_much
        verdict = "DOES NOT FIT; " if too_much else ""
        lines.append(
            f"{row.name:<9}{hours:>10}{memory:>11}{host:>9}{row.disk / GB:>9.1f}  "
            f"{verdict}{row.note}"
        )
    per_cell = sum(row.hours or 0 for row in rows[-2:])
    total = sum(row.hours or 0 for row in rows[:-2]) + cells * per_cell
    lines.append(
        f"{cells} cells of one seed: {total:,.1f} GPU-hours, {total / gpus:,.1f} h on {gpus} GPUs"
    )
    alone, guided = point_hours(clip, config, gpu, share)
    lines.append(
        f"a trained cell judged at another guidance or gain: {guided:,.1f} GPU-hours, "
        f"{alone:,.1f} without guidance; a cell's training: {rows[-2].hours or 0:,.1f}"
    )
    if points:
        again = points * guided
        lines.append(
            f"with {points} such points: at most {total + again:,.1f} GPU-hours, "
            f"{(total + again) / gpus:,.1f} h on {gpus} GPUs"
        )
    parts = training_memory(clip, config, gpus).items()
    lines.append(
        "training memory, GB: " + ", ".join(f"{part} {b / GB:.1f}" for part, b in parts if b)
    )
    return "\n".join([*lines, *_basis(share, config)]), fits


def _basis(share: float, config: Config) -> list[str]:
    """What the numbers rest on, and what a smaller profile gives up."""
    clips = 33_897
    lines = [
        f"times: {100 * share:.0f} % of the GPU's peak; measured is only the paper's 85 s a clip "
        f"on an H200, {100 * paper_share():.0f} % of its peak; memory: counted, not measured",
        "training loads and exports in main memory and casts weight by weight, so a GPU holds no "
        "more then; host GB: main memory of all GPUs' processes together",
        f"the paper says 13 GPU-hours for its {clips:,} hard negatives (App. E); at its own "
        f"{PAPER_CLIP_SECONDS:.0f} s a clip they are {clips * PAPER_CLIP_SECONDS / 3600:,.0f}",
    ]
    changed = given_up(config)
    return [*lines, "gives up: " + ", ".join(changed)] if changed else lines


def given_up(config: Config) -> list[str]:
    """In which sizes a configuration differs from the paper's, with the paper's values."""
    published, own = settings(profile("wan2.1-t2v-1.3b")), settings(config)
    return [f"{n} {own[n]:g} (paper: {published[n]:g})" for n in SIZES if own[n] != published[n]]
