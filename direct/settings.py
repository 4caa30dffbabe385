"""Settings of a configuration by dotted name: read, changed, and checked against each other."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from dataclasses import replace
from functools import cache
from typing import Any, Literal

from .common.errors import UserError, nearest
from .config import AXES, Config, Plugins
from .plugins import carried
from .plugins.registry import entries

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
SHOWN = 80  # characters of a value in an error


def override(config: Config, *assignments: str) -> Config:
    """`config` with settings changed, as in `loss.lambda_hard=0.05`; typed, validated after all."""
    names: set[str] = set()
    for assignment in assignments:
        path, separator, text = assignment.partition("=")
        if not separator:
            raise UserError(
                f"--set {assignment[:SHOWN]} has no '='; write it as loss.lambda_hard=0.05"
            )
        path, text = path.strip(), text.strip()
        if path in names:
            raise UserError(f"--set {path[:SHOWN]} is given twice; leave one out")
        names.add(path)
        assignment = f"{path[:SHOWN]}={text[:SHOWN]}"  # as errors show it
        if path == "profile":  # it names folders, and what a setting's default is
            raise UserError(f"--set {assignment}: a profile is chosen with --profile")
        if path.partition(".")[0] in carried.sections(config.plugins):
            known = carried.flat(config.plugins)
            value = _parse(text, type(known[path]), assignment) if path in known else text
            config = replace(config, plugins=carried.changed(config.plugins, path, value))
        else:
            config = _replace(config, path.split("."), text, assignment)
    return validate(config)


def with_values(config: Config, values: dict[str, Any]) -> Config:
    """`config` with several settings changed by dotted name, as in `{"loss.lambda_hard": 0.05}`."""
    for path, value in values.items():
        *parents, leaf = path.split(".")
        if parents and parents[0] in carried.sections(config.plugins):
            config = replace(config, plugins=carried.changed(config.plugins, path, value))
            continue
        node: Any = config
        trail = []
        for name in parents:
            trail.append(node)
            node = _known(node, name, path)
        _known(node, leaf, path)
        node = replace(node, **{leaf: value})
        for name, parent in zip(reversed(parents), reversed(trail), strict=True):
            node = replace(parent, **{name: node})
        config = node
    return validate(config)


def _known(node: Any, name: str, path: str) -> Any:
    """The value of a field, or a `UserError` that names the nearest ones."""
    fields = {entry.name for entry in dataclasses.fields(node)} if _nested(node) else set[str]()
    if name in fields:
        return getattr(node, name)
    plugins = carried.sections(node.plugins) if isinstance(node, Config) else set[str]()
    raise UserError(f"{path} is not a setting; {nearest(name, fields | plugins)}")


def _nested(node: Any) -> bool:
    return dataclasses.is_dataclass(node) and not isinstance(node, type)


def settings(config: Any, prefix: str = "") -> dict[str, Any]:
    """Every setting by dotted name, plug-ins' own among them."""
    flat: dict[str, Any] = {}
    for entry in dataclasses.fields(config):
        value = getattr(config, entry.name)
        if isinstance(value, Plugins):
            flat |= carried.flat(value)
        elif dataclasses.is_dataclass(value):
            flat |= settings(value, f"{prefix}{entry.name}.")
        else:
            flat[prefix + entry.name] = value
    return flat


def _replace(node: Any, names: list[str], text: str, assignment: str) -> Any:
    known = {entry.name for entry in dataclasses.fields(node)} - {"plugins"}
    if names[0] not in known:
        if isinstance(node, Config):
            known |= carried.sections(node.plugins)
        name = names[0][:SHOWN]
        raise UserError(f"--set {assignment}: no setting {name!r}; {nearest(name, known)}")
    value = getattr(node, names[0])
    if dataclasses.is_dataclass(value) != (len(names) > 1):
        names_below = settings(value) if dataclasses.is_dataclass(value) else {names[0]: value}
        raise UserError(f"--set {assignment}: name one setting; known: {', '.join(names_below)}")
    if len(names) > 1:
        return replace(node, **{names[0]: _replace(value, names[1:], text, assignment)})
    kind = typing.get_type_hints(type(node))[names[0]]
    return replace(node, **{names[0]: _parse(text, kind, assignment)})


def _parse(text: str, kind: Any, assignment: str) -> Any:
    """`text` as a value of the annotated type."""
    origin, options = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        options = (*options, *_plugged(assignment.partition("=")[0].strip()))
        if text not in options:
            raise UserError(f"--set {assignment}: {nearest(text, options)}")
        return text
    if origin is tuple:
        parts = [part.strip() for part in text.split(",") if part]
        return tuple(_parse(part, options[0], assignment) for part in parts)
    if origin is types.UnionType:
        return None if text.lower() == "none" else _parse(text, options[0], assignment)
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise UserError(f"--set {assignment}: write true or false")
        return text.lower() == "true"
    try:
        return kind(text)
    except ValueError:
        raise UserError(
            f"--set {assignment}: {text[:SHOWN]!r} is not of type {kind.__name__}"
        ) from None


def seed_list(text: str) -> tuple[int, ...]:
    """The training seeds of an option's text, as 0,1,2: whole numbers, each once."""
    try:
        seeds = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UserError(
            f"--seeds {text[:SHOWN]} is not a list of whole numbers; write 0,1,2"
        ) from None
    if len(set(seeds)) < len(seeds) or min(seeds) < 0 or max(seeds) > RANGES["seed"][1]:
        raise UserError(
            f"--seeds {text[:SHOWN]} repeats a seed, or has a negative or a huge one; write 0,1,2"
        )
    return seeds


def _shown(number: int) -> str:
    """A number of any length in a few characters."""
    return f"{number}" if abs(number) < 10**20 else f"about 10^{int(math.log10(abs(number)))}"


@cache
def _options(path: str) -> tuple[str, ...]:
    """The values of a setting that has a fixed list of them."""
    section, _, name = path.partition(".")
    kind = typing.get_type_hints(typing.get_type_hints(Config)[section])[name]
    return typing.get_args(kind)


def _plugged(path: str) -> list[str]:
    """The plug-ins that may be a setting's value."""
    return [entry.name for entry in entries(CHOICES[path])] if path in CHOICES else []


@cache
def _real(kind: type[Any] = Config, prefix: str = "") -> tuple[str, ...]:
    """The settings that are real numbers."""
    found: list[str] = []
    for name, hint in typing.get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            found += _real(hint, f"{prefix}{name}.")
        elif hint is float:
            found.append(prefix + name)
    return tuple(found)


def validate(config: Config) -> Config:
    """`config`, if it can be run; else a `UserError` that names the setting and the fix.

    A whole number that stands for a real one becomes one: a cell's name is the hash of how its
    numbers are written, and 2 is not written as 2.0 is.
    """
    loss, train, flat = config.loss, config.train, settings(config)
    if whole := {name: float(flat[name]) for name in _real() if type(flat[name]) is int}:
        return with_values(config, whole)
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
    for name, kind in CHOICES.items():
        own = {x for k, x, _ in carried.contents(config.plugins) if k == kind}
        choices = {*_options(name), *own}
        if flat[name] not in choices:
            raise UserError(f"{name}={flat[name]} is not known; {nearest(flat[name], choices)}")
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
    if config.macro.clusters < 2:
        raise UserError(
            f"macro.clusters={config.macro.clusters} leaves no other cluster to draw from; "
            "use 2 or more"
        )
    drawn = train.steps and loss.lambda_rand and config.macro.sampling not in ("uniform", "batch")
    if drawn and config.macro.clusters > config.data.clips:  # else `canonical` sets them back
        raise UserError(
            f"macro.clusters={config.macro.clusters} is above data.clips={config.data.clips}; "
            "use at most as many clusters as prompts"
        )
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
    if unknown := sorted(set(config.micro.axes) - set(AXES)):
        raise UserError(f"micro.axes: {unknown[0]!r} is no axis; {nearest(unknown[0], AXES)}")
    if len(set(config.micro.axes)) < len(config.micro.axes):
        axes = ",".join(config.micro.axes)
        raise UserError(f"micro.axes={axes} names an axis twice; name each once")
    for name in ("sample.guidance", "hard_sample.guidance"):
        if flat[name] < 1:
            raise UserError(
                f"{name}={flat[name]:g} is below 1, which is no guidance; use 1 or more"
            )
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
    if not config.micro.axes:
        raise UserError(f"micro.axes is empty; name some of {', '.join(AXES)}")
    for name in ("train.epsilon", "train.clip", "train.shift"):
        if not flat[name] > 0:
            raise UserError(f"{name}={flat[name]} must be positive")
    for name in ("sample.shift", "hard_sample.shift"):
        if not flat[name] >= 0:
            raise UserError(
                f"{name}={flat[name]} must be positive, or 0 for the pipeline's own scheduler's"
            )
    if not loss.threshold > 0:
        raise UserError(f"loss.threshold={loss.threshold} must be positive; 1e30 masks nothing")
    if not -1 <= config.micro.min_cosine <= 1:
        raise UserError(f"micro.min_cosine={config.micro.min_cosine} is not a cosine; use -1 to 1")
    return config


def _unperturbed(config: Config) -> str:
    """What is judged, where nobody perturbs it; empty for prompts of the world or of a plug-in."""
    if config.evaluate.prompts_file:
        return f"prompts of evaluate.prompts_file={config.evaluate.prompts_file}"
    if config.data.source == "cache":
        return "a benchmark's prompts (data.source=cache)"
    return "up-sampled captions" if config.evaluate.captions == "upsampled" else ""
