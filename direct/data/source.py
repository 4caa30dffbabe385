"""Where clips and prompts come from. With `evaluate`, the only room that knows `direct.world`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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


def training(config: Config) -> list[Sample]:
    """The post-training clips, in their fixed order."""
    return _samples(config, "post_training", config.data.clips)


def evaluation(config: Config) -> list[Sample]:
    """The prompts that are generated and judged, in their fixed order."""
    return _samples(config, config.evaluate.split, config.evaluate.prompts)


def identity(config: Config) -> str:
    """Names what the clips are made from: latents cached from them are found by it."""
    sources = sorted((Path(__file__).parent.parent / "world").glob("*.py"))
    return digest([config.data.source, config.data.seed, [file_digest(path) for path in sources]])


def judge(config: Config) -> Callable[[np.ndarray, Any], dict[str, float]]:
    """judge(video uint8 [T, H, W, 3], record) -> scores by column."""
    if config.evaluate.judge != "world":
        raise UserError(
            f"evaluate.judge={config.evaluate.judge} needs the judge's own weights, which are not "
            "part of this package; use --profile tiny, whose judge is 'world'"
        )
    from ..world.judge import judge as world_judge

    return world_judge


def _samples(config: Config, split: str, count: int) -> list[Sample]:
    if config.data.source != "world":
        raise UserError(
            f"data.source={config.data.source}: curated clips have to be cached first and no such "
            "cache is here; use --profile tiny, whose source is 'world'"
        )
    return list(_world_samples(split, count, config.data.seed))


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
