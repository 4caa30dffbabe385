"""Where clips and prompts come from: the procedural world, curated files, or a benchmark."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from .. import plugins
from ..common.errors import UserError
from ..common.files import digest
from ..common.fingerprint import fingerprint
from ..config import Config, Run
from ..plugins import carried
from ..plugins.guard import guarded
from ..plugins.registry import Entry
from . import benchmarks, captions, curated, folder
from .sample import Sample


def training(run: Run) -> list[Sample]:
    """The post-training clips, in their fixed order: curated ones, or the world's."""
    if run.config.data.source == "cache":
        return curated.clips(run)
    if plugin := _plugin(run.config):
        return _checked(plugin, run.config)
    data = run.config.data
    _check_size(run.config)
    return _samples("post_training", data.clips, data.seed)


def pinned(run: Run) -> Config:
    """The configuration, with its data's content in it, so that a cell's name covers that.

    data.content names the curated clips in the cache, evaluate.content the up-sampled captions.
    """
    config = run.config
    if config.evaluate.captions != "short":
        found = captions.content(config)
        config = replace(config, evaluate=replace(config.evaluate, content=found))
    if config.evaluate.prompts_file:
        found = digest([captions.content(config), _given(config)])
        config = replace(config, evaluate=replace(config.evaluate, content=found))
    if config.data.source != "cache":
        return config
    return curated.pinned(replace(run, config=config))


def evaluation(config: Config) -> list[Sample]:
    """The prompts that are generated and judged, in their fixed order."""
    if config.evaluate.prompts_file:
        return _own_prompts(config)
    if plugin := _plugin(config):
        if not (prompts := plugin.options["evaluation"]):
            raise UserError(
                f"data.source={plugin.name} has no prompts to be judged; set "
                "evaluate.prompts_file=FILE.txt"
            )
        given = guarded(f"the prompts of the source {plugin.name}", prompts)
        return list(given(config.evaluate))
    if config.data.source == "cache":
        return _benchmark(config)
    if config.evaluate.judge in benchmarks.PROMPTS:
        raise UserError(
            f"evaluate.judge={config.evaluate.judge} judges clips of its own benchmark's prompts; "
            "those of the procedural world are judged by evaluate.judge=world"
        )
    return _samples(config.evaluate.split, config.evaluate.prompts, config.data.seed)


def evaluation_texts(config: Config) -> list[str]:
    """What the clips that are judged are generated from, in the prompts' order."""
    return captions.prompts(config, [item.prompt for item in evaluation(config)])


def identity(config: Config) -> str:
    """Names how the clips' pixels are made: latents cached from them are found by it."""
    if config.data.source == "cache":
        return digest(["cache", curated.PIXELS])
    if plugin := _plugin(config):
        return digest(["plug-in", plugin.name, plugin.content, config.data.seed])
    return digest([config.data.source, config.data.seed, fingerprint("direct.world")])


def _benchmark(config: Config) -> list[Sample]:
    """The first prompts of the judge's own benchmark. They have no clips."""
    settings = config.evaluate
    if settings.judge not in benchmarks.PROMPTS:
        raise UserError(
            f"evaluate.judge={settings.judge} has no prompts for data.source=cache; give them by "
            f"evaluate.prompts_file, with a judge of your own, or set evaluate.judge to "
            f"{' or '.join(benchmarks.PROMPTS)}"
        )
    if settings.split != "evaluation":
        raise UserError(f"{settings.judge} has no {settings.split} prompts; use evaluation")
    prompts = benchmarks.PROMPTS[settings.judge]()
    if len(prompts) < settings.prompts:
        raise UserError(
            f"evaluate.prompts={settings.prompts}, but {settings.judge} has {len(prompts)} prompts"
        )
    return [
        Sample(prompt.id, prompt.caption, "", _no_clip, _no_clip, prompt.about)
        for prompt in prompts[: settings.prompts]
    ]


def _plugin(config: Config) -> Entry | None:
    """The plug-in whose clips these are."""
    if config.data.source in ("world", "cache"):
        return None
    found = carried.active(plugins.need(config), "source")
    if not found:
        raise UserError(f"data.source={config.data.source} is not loaded; load its file first")
    return found[0][0]


def _checked(plugin: Entry, config: Config) -> list[Sample]:
    """The plug-in's clips: as many as data.clips says, each with an id of its own."""
    own = carried.values(config.plugins, plugin.name)
    samples: list[Sample] = list(plugin.function(config.data, **own))
    if len(samples) != config.data.clips or len({item.id for item in samples}) < len(samples):
        raise UserError(
            f"data.source={plugin.name} gave {len(samples)} clips with "
            f"{len({item.id for item in samples})} ids; data.clips={config.data.clips} asks for as "
            "many, each with its own"
        )
    return samples


def _own_prompts(config: Config) -> list[Sample]:
    """The first prompts of evaluate.prompts_file. What else a row holds is the judge's to know."""
    settings = config.evaluate
    if settings.judge == "world":
        raise UserError(
            "evaluate.judge=world knows what the world's own prompts ask for, and no others; set "
            "another judge, or leave evaluate.prompts_file out"
        )
    rows = _given(config)
    if settings.content not in ("", digest([captions.content(config), rows])):
        raise UserError(
            f"{settings.prompts_file} or the up-sampled captions have changed since this cell was "
            "named; put them back, or plan the sweep again"
        )
    if len(rows) < settings.prompts:
        raise UserError(
            f"evaluate.prompts={settings.prompts}, but {settings.prompts_file} has {len(rows)}"
        )
    return [
        Sample(f"prompt-{n:03d}", row["caption"], "", _no_clip, _no_clip, row)
        for n, row in enumerate(rows[: settings.prompts])
    ]


def _given(config: Config) -> list[dict[str, Any]]:
    """The rows of evaluate.prompts_file, each with its caption."""
    path = Path(config.evaluate.prompts_file)
    if path.suffix == ".txt":
        lines = benchmarks.read_given(path).splitlines()
        rows: list[dict[str, Any]] = [{"caption": line.strip()} for line in lines if line.strip()]
    else:
        rows = folder.read_table(path)
    for number, row in enumerate(rows, 1):
        if not isinstance(row.get("caption"), str) or not row["caption"].strip():
            raise UserError(f"{path}: prompt {number} has no caption; add the column caption")
    return rows


def _no_clip(*arguments: Any) -> Any:
    raise UserError("a benchmark's prompts have no clips and are not perturbed")


def _check_size(config: Config) -> None:
    """A `UserError` where the model's clips are of another size than those that the world draws."""
    from ..world.motion import FRAMES, SIZE

    drawn = {"frames": FRAMES, "height": SIZE, "width": SIZE}
    for name, needed in drawn.items():
        if (given := getattr(config.model, name)) != needed:
            raise UserError(
                f"model.{name}={given}, but the clips of data.source=world are {FRAMES} frames of "
                f"{SIZE}x{SIZE}; set model.{name}={needed}, or data.source=cache for curated clips"
            )


def _samples(split: str, count: int, seed: int) -> list[Sample]:
    return list(_world_samples(split, count, seed))


@lru_cache(maxsize=4)
def _world_samples(split: str, count: int, seed: int) -> list[Sample]:
    from .. import world

    return [_from_world(world, clip) for clip in world.corpus(split, count, seed)]


def _from_world(world: Any, clip: Any) -> Sample:
    def perturb(axis: str, rng: np.random.Generator) -> str | None:
        record = world.perturb(clip.record, axis, rng)
        return None if record is None else world.caption(record)

    law = clip.law.strip().lower()
    return Sample(clip.id, clip.caption, law, clip.video, perturb, clip.record)
