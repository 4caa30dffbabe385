"""Where clips and prompts come from. With `evaluate`, the only room that knows `direct.world`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..config import Config
from ..errors import UserError
from ..files import digest, file_digest


@dataclass(frozen=True)
class Sample:
    """One clip or prompt, as the method sees it."""

    id: str
    prompt: str
    law: str  # coarse physics law, lower case
    video: Callable[[], np.ndarray]  # uint8 [T, H, W, 3], rendered or read when called
    perturb: Callable[
        [str, np.random.Generator], str | None
    ]  # a prompt with one physics axis changed
    record: Any  # what the judge needs to know about the clip
    content: str = ""  # names the clip's pixels, where its id and prompt do not


def training(config: Config, cache: Path) -> list[Sample]:
    """The post-training clips, in their fixed order: curated ones, or the world's."""
    if config.data.source == "cache":
        from . import curated

        return curated.clips(config, cache)
    return _samples("post_training", config.data.clips, config.data.seed)


def pinned(config: Config, cache: Path) -> Config:
    """`config` with data.content naming the curated clips in `cache`, so that cells name them;
    and evaluate.content the up-sampled captions, where clips are generated from them.
    """
    if config.evaluate.captions != "short":
        from ..evaluate import captions

        found = captions.content(config)
        config = replace(config, evaluate=replace(config.evaluate, content=found))
    if config.data.source != "cache":
        return config
    from . import curated

    return curated.pinned(config, cache)


def evaluation(config: Config) -> list[Sample]:
    """The prompts that are generated and judged, in their fixed order."""
    if config.data.source == "cache":
        return _benchmark(config)
    if config.evaluate.judge != "world":
        raise UserError(
            f"evaluate.judge={config.evaluate.judge} judges clips of its own benchmark's prompts; "
            "those of the procedural world are judged by evaluate.judge=world"
        )
    return _samples(config.evaluate.split, config.evaluate.prompts, config.data.seed)


def identity(config: Config) -> str:
    """Names how the clips' pixels are made: latents cached from them are found by it."""
    if config.data.source == "cache":
        from . import curated

        return digest(["cache", curated.PIXELS])
    sources = sorted((Path(__file__).parent.parent / "world").glob("*.py"))
    return digest([config.data.source, config.data.seed, [file_digest(path) for path in sources]])


def judge(config: Config) -> Callable[[np.ndarray, Any], dict[str, float]]:
    """judge(video uint8 [T, H, W, 3], record) -> scores by column."""
    if config.evaluate.judge != "world":
        raise UserError(
            f"evaluate.judge={config.evaluate.judge} does not run in this process; "
            "only the world's judge does (direct/evaluate/rater.py)"
        )
    from ..world.judge import judge as world_judge

    return world_judge


def _benchmark(config: Config) -> list[Sample]:
    """The first prompts of the judge's own benchmark. They have no clips."""
    from .. import evaluate

    settings = config.evaluate
    if settings.judge not in evaluate.RATERS:
        raise UserError(
            f"evaluate.judge={settings.judge} judges clips of the procedural world alone; "
            f"choose {' or '.join(evaluate.RATERS)}"
        )
    if settings.split != "evaluation":
        raise UserError(f"{settings.judge} has no {settings.split} prompts; use evaluation")
    prompts = evaluate.RATERS[settings.judge].prompts()
    if len(prompts) < settings.prompts:
        raise UserError(
            f"evaluate.prompts={settings.prompts}, but {settings.judge} has {len(prompts)} prompts"
        )
    return [
        Sample(prompt.id, prompt.caption, "", _no_clip, _no_clip, prompt.about)
        for prompt in prompts[: settings.prompts]
    ]


def _no_clip(*arguments: Any) -> Any:
    raise UserError("a benchmark's prompts have no clips and are not perturbed")


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
