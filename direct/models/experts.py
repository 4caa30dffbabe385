"""Two transformers of one pipeline, each for its own noise levels (Wan 2.2's A14B).

`transformer`, the high-noise expert, is used at t >= boundary, and `transformer_2`, the low-noise
one, below it, as `WanPipeline` does. One of them is trained (train.expert), at times of its own
alone; clips are sampled with both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..common.errors import UserError
from ..config import Config, Model
from ..flow import EVERYWHERE, TIMESTEPS
from . import pipeline


@dataclass(frozen=True)
class Experts:
    """Called as a transformer is, with a batch that is all at one noise level."""

    high: Any
    low: Any
    boundary: float

    def __call__(self, x_t: Tensor, timestep: Tensor, *inputs: Any, **options: Any) -> Any:
        expert = self.low if self.is_low(timestep[0]) else self.high
        return expert(x_t, timestep, *inputs, **options)

    def is_low(self, timestep: Tensor) -> bool:
        """timestep []: 1000 t."""
        return bool(timestep < TIMESTEPS * self.boundary)

    @property
    def config(self) -> Any:
        """Both have one architecture."""
        return self.high.config

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.high.dtype
        return dtype


def base(model: Model, dtype: torch.dtype) -> Any:
    """What a pipeline samples with: its transformer, or both of its experts."""
    boundary = pipeline.boundary(model)
    if boundary is None:
        return pipeline.load_transformer(model.pipeline, dtype)
    high, low = (
        pipeline.load_transformer(model.pipeline, dtype, expert=name) for name in pipeline.EXPERTS
    )
    return Experts(high, low, boundary)


def whole(config: Config, trained: Any) -> Any:
    """What a training's clips are sampled with: `trained`, and beside it the expert that is not."""
    boundary, own = pipeline.boundary(config.model), config.train.expert
    if boundary is None:
        return trained
    (other,) = pipeline.EXPERTS.keys() - {own}
    rest = pipeline.load_transformer(config.model.pipeline, trained.dtype, expert=other)
    high, low = (trained, rest) if own == "high_noise" else (rest, trained)
    return Experts(high, low, boundary)


def times(config: Config) -> tuple[float, float]:
    """low, high: what is trained is used at the noise levels low <= t < high."""
    boundary = pipeline.boundary(config.model)
    if boundary is None:
        return EVERYWHERE
    high = config.train.expert == "high_noise"
    return (boundary, EVERYWHERE[1]) if high else (EVERYWHERE[0], boundary)


def check(config: Config) -> None:
    """A `UserError` where settings are about experts and the pipeline is not, or the other way."""
    if pipeline.boundary(config.model) is None:
        _check_one(config)
    elif config.train.steps and config.train.expert == "only":
        raise UserError(
            f"model.pipeline={config.model.pipeline} has two experts; "
            "set train.expert=high_noise or low_noise"
        )
    elif config.measure.kind == "gain":
        raise UserError(
            "measure.kind=gain is about noise levels of both experts, and one is trained; use a "
            "pipeline with one transformer"
        )


def _check_one(config: Config) -> None:
    """Of a pipeline with one transformer; what plays no part beside the others may be anything."""
    train = config.train
    own: dict[str, tuple[Any, Any]] = {"sample.guidance_low": (config.sample.guidance_low, 0)}
    if train.steps:
        own["train.expert"] = train.expert, "only"
    if train.steps and config.loss.lambda_hard:
        own["hard_sample.guidance_low"] = config.hard_sample.guidance_low, 0
    for name, (value, needed) in own.items():
        if value != needed:
            raise UserError(
                f"{name}={value} is about one of two experts, and "
                f"model.pipeline={config.model.pipeline} has one transformer; set {name}={needed}"
            )
