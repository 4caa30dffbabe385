"""What a cell has to do: steps, clips and judged clips, and how long each takes by default."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

from direct import profiles
from direct.common.errors import UserError
from direct.common.files import read_journal
from direct.config import Config
from direct.identity import any_length, canonical, identity

# Seconds per training step, per generated clip and per judged clip, where nothing is recorded yet.
# tiny: one core of a laptop. wan2.1: as in Table S4 and App. D, on GPUs; its judging is a guess.
DEFAULTS = {"tiny": (0.13, 0.08, 0.05), "wan2.1-t2v-1.3b": (4.95, 85.0, 5.0)}
SHARED = ("text", "latents", "perturb", "partition", "render")  # stages of what cells share
HARD_NEGATIVE_SECONDS = {"wan2.1-t2v-1.3b": 85.0}  # App. D; "13 GPU-hours" (App. E) cannot be


def like(profile: str) -> str:
    """The profile whose figures count: the paper's, but for those of the packaged pipeline."""
    make = profiles.known().get(profile)
    return "tiny" if make and make().model.pipeline == "tiny" else "wan2.1-t2v-1.3b"


def default_rates(profile: str) -> tuple[float, float, float]:
    """Seconds of each stage's unit, where nothing is recorded."""
    return DEFAULTS[like(profile)]


def trainings(config: Config) -> list[tuple[str, int]]:
    """The trainings of a cell by name, as `train.trajectory` shares them, and their steps."""
    steps = config.train.steps
    if config.measure.kind != "scores" or not steps:
        return []
    config, half = canonical(config, "training"), steps // 2
    if config.train.init == "base":
        return [(identity(any_length(config)), steps)]
    loss = replace(config.loss, lambda_rand=0.0, lambda_hard=0.0)
    sft = replace(config, loss=loss, train=replace(config.train, init="base"))
    return [(f"sft {half} {identity(any_length(sft))}", half), (identity(config), steps - half)]


def taken(run: Path) -> dict[str, int]:
    """The training steps that a finished cell has taken itself, where that is noted."""
    with suppress(UserError, KeyError, TypeError, ValueError):
        lines = read_journal(run / "timing.jsonl")
        return {"train": sum(int(line["steps"]) for line in lines)} if lines else {}
    return {}


def units_of(config: Config) -> dict[str, float]:
    """How much each stage has to do: steps, clips of the profile's own sampling, clips.

    A measured step is several.
    """
    if config.measure.kind == "gain":  # two trainings, which other cells have mostly made
        return {"train": config.train.steps, "generate": 0, "judge": 0}
    if config.measure.kind != "scores":
        steps = 4 * config.measure.steps  # a backward pass for every gradient
        if config.measure.kind == "cost":
            steps = 3 * config.measure.iterations
        return {"train": steps, "generate": 0, "judge": 0}
    prompts = config.evaluate.prompts
    return {"train": config.train.steps, "generate": prompts * clips_of(config), "judge": prompts}


def clips_of(config: Config) -> float:
    """How many of its profile's own clips one costs: forward passes, with guidance two a step."""
    own = passes_of(config.profile)
    return config.sample.passes / own if own else 1.0


@cache
def passes_of(name: str) -> int:
    """Those of a clip of the profile; 0 for one that this process does not know."""
    make = profiles.known().get(name)
    return make().sample.passes if make else 0


class Left(NamedTuple):
    """A training that another cell has left, or will have."""

    when: float  # seconds from now
    steps: int
    branched: bool  # of this sweep: it leaves its state wherever another of its cells ends

    def usable(self, start: float, steps: int) -> int:
        """How many of `steps` need not be taken again by a cell that begins at `start`."""
        if self.when > start or not (self.branched or self.steps <= steps):
            return 0
        return min(self.steps, steps)
