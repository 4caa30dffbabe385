"""Which settings are refused, alone and beside each other: one sentence each, with the fix."""

from __future__ import annotations

import math
import typing
from functools import cache
from typing import Any

from .common.errors import UserError, nearest
from .config import AXES, Config
from .plugins import carried

CHOICES = {  # settings that a plug-in's name is a value of, and the plug-in's kind
    "macro.sampling": "sampler",
    "evaluate.judge": "judge",
    "data.source": "source",
}

# The least and the most that is taken: far beyond what any run has had, and small enough that what
# is counted or listed before the work is done at once.
RANGES = {
    "seed": (0, 2**63 - 1),
    "threads": (1, 1024),
    "model.frames": (1, 10_000),
    "model.height": (1, 16_384),
    "model.width": (1, 16_384),
    "model.fps": (1, 1_000),
    "model.text_length": (1, 65_536),
    "data.clips": (1, 10_000_000),
    "data.seed": (0, 2**63 - 1),
    "macro.restarts": (1, 1_000_000),
    "macro.seed": (0, 2**63 - 1),
    "micro.candidates": (1, 10_000),
    "micro.keep": (1, 10_000),
    "train.steps": (0, 1_000_000_000),
    "train.batch": (1, 65_536),
    "train.micro_batch": (0, 65_536),
    "train.context_parallel": (1, 1024),
    "train.checkpoint_every": (1, 1_000_000_000),
    "train.sample_every": (0, 1_000_000_000),
    "train.lora_rank": (0, 65_536),
    "train.lora_alpha": (1, 1_000_000),
    "sample.steps": (1, 100_000),
    "hard_sample.steps": (1, 100_000),
    "evaluate.prompts": (1, 1_000_000),
    "measure.steps": (1, 1_000_000_000),
    "measure.iterations": (1, 1_000_000_000),
}


def check(config: Config, flat: dict[str, Any]) -> None:
    """Raises the `UserError` of what cannot be run. `flat`: its settings by dotted name."""
    _check_numbers(flat)
    _check_choices(config, flat)
    _check_convexity(config)
    _check_clusters(config)
    _check_training(config, flat)
    _check_axes(config.micro.axes)
    _check_rendering(config)
    _check_signs(config, flat)


def _check_numbers(flat: dict[str, Any]) -> None:
    for name, value in flat.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{name}={value} is not a finite number; give one")
    for name, (least, most) in RANGES.items():
        if flat[name] < least:
            raise UserError(f"{name}={flat[name]} must be at least {least}")
        if flat[name] > most:
            raise UserError(f"{name}={_shown(flat[name])} must be at most {most}")
    for name in (
        "loss.lambda_rand",
        "loss.lambda_hard",
        "loss.lambda_anc",
        "train.learning_rate",
        "train.weight_decay",
    ):
        if flat[name] < 0:
            raise UserError(f"{name}={flat[name]} is negative; use 0 or more")


def _check_choices(config: Config, flat: dict[str, Any]) -> None:
    for name, kind in CHOICES.items():
        own = {x for k, x, _ in carried.contents(config.plugins) if k == kind}
        choices = {*_options(name), *own}
        if flat[name] not in choices:
            raise UserError(f"{name}={flat[name]} is not known; {nearest(flat[name], choices)}")


def _check_convexity(config: Config) -> None:
    loss = config.loss
    curvature = 1 - loss.lambda_rand - loss.lambda_hard + loss.lambda_anc
    if pull := carried.pull(config):
        curvature += pull
        if not curvature > 0:
            raise UserError(
                f"the loss is not convex: with {pull:g} of plug-ins' targets its curvature is "
                f"{curvature:g}; raise their weights towards 0"
            )
    if not curvature > 0:
        raise UserError(
            f"the loss is not convex: 1 - loss.lambda_rand - loss.lambda_hard + loss.lambda_anc = "
            f"{curvature:g}; lower lambda_rand={loss.lambda_rand} or lambda_hard={loss.lambda_hard}"
        )


def _check_clusters(config: Config) -> None:
    if config.macro.clusters < 2:
        raise UserError(
            f"macro.clusters={config.macro.clusters} leaves no other cluster to draw from; "
            "use 2 or more"
        )
    sampled = config.loss.lambda_rand and config.macro.sampling not in ("uniform", "batch")
    drawn = config.train.steps and sampled  # else `canonical` sets the clusters back
    if drawn and config.macro.clusters > config.data.clips:
        raise UserError(
            f"macro.clusters={config.macro.clusters} is above data.clips={config.data.clips}; "
            "use at most as many clusters as prompts"
        )


def _check_training(config: Config, flat: dict[str, Any]) -> None:
    train = config.train
    if train.steps and config.model.peer:
        raise UserError(f"model.pipeline={config.model.pipeline} is judged as it is; train.steps=0")
    if train.micro_batch and train.batch % train.micro_batch:
        raise UserError(
            f"train.micro_batch={train.micro_batch} does not divide train.batch={train.batch}"
        )
    if train.context_parallel > 1 and train.engine != "fsdp":
        raise UserError(
            f"train.context_parallel={train.context_parallel} needs train.engine=fsdp, not "
            f"{train.engine}"
        )
    if train.compile and train.engine == "fsdp":
        raise UserError("train.compile=true is not tried with train.engine=fsdp; set it to false")
    if train.lora_rank and train.init == "sft":
        raise UserError(
            "train.init=sft with train.lora_rank: an adapter's reference is what it starts from, "
            "which must be the base; use train.init=base or train.lora_rank=0"
        )
    for name in ("train.prompt_dropout", "train.beta1", "train.beta2"):
        if not 0 <= flat[name] < 1:
            raise UserError(f"{name}={flat[name]} must be in [0, 1)")


def _check_axes(axes: tuple[str, ...]) -> None:
    if not axes:
        raise UserError(f"micro.axes is empty; name some of {', '.join(AXES)}")
    if unknown := sorted(set(axes) - set(AXES)):
        raise UserError(f"micro.axes: {unknown[0]!r} is no axis; {nearest(unknown[0], AXES)}")
    if len(set(axes)) < len(axes):
        raise UserError(f"micro.axes={','.join(axes)} names an axis twice; name each once")


def _check_rendering(config: Config) -> None:
    for name, guidance in (
        ("sample.guidance", config.sample.guidance),
        ("hard_sample.guidance", config.hard_sample.guidance),
    ):
        if guidance < 1:
            raise UserError(f"{name}={guidance:g} is below 1, which is no guidance; use 1 or more")
    if not config.sample.gain > -1:
        raise UserError(f"sample.gain={config.sample.gain} would turn the flow round; use above -1")
    if config.sample.about_negatives and (judged := _unperturbed(config)):
        raise UserError(
            f"sample.gain_about=negatives: {judged} have no perturbed ones that could be rendered; "
            "use pool, clusters or zero"
        )
    if config.hard_sample.gain:
        raise UserError(
            f"hard_sample.gain={config.hard_sample.gain}: hard negatives are rendered by the base "
            "model as it is; use 0"
        )
    if not 0 <= config.render.cache <= 1:
        raise UserError(f"render.cache={config.render.cache} must be in [0, 1]; 0 caches nothing")
    if config.render.frames == "half" and config.model.frames % 2 == 0:
        raise UserError(
            f"render.frames=half: model.frames={config.model.frames} is even; use a multiple of "
            "twice the VAE's temporal stride, plus one"
        )
    if config.render.solver == "unipc" and not config.hard_sample.shift:
        raise UserError("render.solver=unipc needs a shift of its levels; set hard_sample.shift=3")


def _unperturbed(config: Config) -> str:
    """What is judged, where nobody perturbs it; empty for prompts of the world or of a plug-in."""
    if config.evaluate.prompts_file:
        return f"prompts of evaluate.prompts_file={config.evaluate.prompts_file}"
    if config.data.source == "cache":
        return "a benchmark's prompts (data.source=cache)"
    return "up-sampled captions" if config.evaluate.captions == "upsampled" else ""


def _check_signs(config: Config, flat: dict[str, Any]) -> None:
    for name in ("train.epsilon", "train.clip", "train.shift"):
        if not flat[name] > 0:
            raise UserError(f"{name}={flat[name]} must be positive")
    for name in ("sample.shift", "hard_sample.shift"):
        if not flat[name] >= 0:
            raise UserError(
                f"{name}={flat[name]} must be positive, or 0 for the pipeline's own scheduler's"
            )
    if not (threshold := config.loss.threshold) > 0:
        raise UserError(f"loss.threshold={threshold} must be positive; 1e30 masks nothing")
    if not -1 <= config.micro.min_cosine <= 1:
        raise UserError(f"micro.min_cosine={config.micro.min_cosine} is not a cosine; use -1 to 1")


def _shown(number: int) -> str:
    """A number of any length in a few characters."""
    return f"{number}" if abs(number) < 10**20 else f"about 10^{int(math.log10(abs(number)))}"


@cache
def _options(path: str) -> tuple[str, ...]:
    """The values of a setting that has a fixed list of them."""
    section, _, name = path.partition(".")
    kind = typing.get_type_hints(typing.get_type_hints(Config)[section])[name]
    return typing.get_args(kind)
