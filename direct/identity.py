"""What names a configuration, and with it a cell, its folder and its results.

A name is the hash of all settings that can change a result, and of nothing else:

- A setting that cannot matter beside the others (the number of clusters where no negative is drawn)
  stands at its profile's default: `canonical`.
- A setting that never changes a result is declared with `config.NO_EFFECT`, and stands there too.
- A plug-in that plays no part (a term of weight 0) is left out: `plugins.carried.used`.
- A setting that came later is declared with `config.added(neutral)`. At its neutral value, at which
  everything is as it was before, it is left out, so that older names stay.
"""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any, Literal

from .common.files import canonical_json, digest
from .config import NEUTRAL, NO_EFFECT, Config, Sampling
from .plugins import carried
from .profiles import known

Scope = Literal["result", "training", "data"]
CELLS = 2**16  # of a large study: what one is called is asked for again and again


@lru_cache(maxsize=CELLS)
def identity(config: Config) -> str:
    """12 hex digits that name what `config` gives, its seed included."""
    config = canonical(config)
    return digest(_named(config, _default(config)))


def named(config: Config) -> dict[str, Any]:
    """The settings that a name is the hash of, as JSON gives them back: lists for tuples."""
    config = canonical(config)
    value: dict[str, Any] = json.loads(canonical_json(_named(config, _default(config))))
    return value


@lru_cache(maxsize=CELLS)  # most sections are those of many cells; nobody changes what is found
def _named(node: Any, default: Any) -> dict[str, Any]:
    found = {}
    for field in dataclasses.fields(node):
        value = getattr(default if NO_EFFECT in field.metadata else node, field.name)
        if NEUTRAL in field.metadata and value == field.metadata[NEUTRAL]:
            continue
        nested = dataclasses.is_dataclass(value)
        found[field.name] = _named(value, getattr(default, field.name)) if nested else value
    return found


def stored(settings: Any) -> dict[str, Any]:
    """One section of settings, as the names of what is cached by them hold it."""
    return dict(_named(settings, settings))


def restored(value: Any, kind: type[Any] = Config) -> Any:
    """The configuration of a JSON object; a setting that it was too old to have is neutral.

    Raises TypeError, KeyError or AttributeError where it is no configuration.
    """
    hints = typing.get_type_hints(kind)
    neutral = {
        field.name: field.metadata[NEUTRAL]
        for field in dataclasses.fields(kind)
        if NEUTRAL in field.metadata
    }
    given = {
        name: _typed(item, hints[name], name) if name in hints else item
        for name, item in value.items()
    }
    build: Callable[..., Any] = kind
    return build(**(neutral | given))


def _typed(item: Any, hint: Any, name: str) -> Any:
    """A setting as JSON gives it, as its declaration says it is; TypeError where it is not."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return restored(item, hint)
    origin = typing.get_origin(hint)
    if origin is tuple and isinstance(item, list | tuple) and all(type(x) is str for x in item):
        return tuple(item)
    kinds = {Literal: (str,), float: (int, float)}.get(origin or hint, (hint,))
    if origin is tuple or type(item) not in kinds:
        raise TypeError(f"{name} is a {type(item).__name__}")
    if type(item) is float and not math.isfinite(item):
        raise TypeError(f"{name} is not a finite number")
    return item


@lru_cache(maxsize=CELLS)
def canonical(config: Config, of: Scope = "result") -> Config:
    """`config` with every setting that cannot change the result at its profile's default.

    So cells that must give the same numbers are one cell, and one run, in all tables. of:
    "training" leaves out how clips are generated and judged, "data" also what decides about the
    weights alone and not about the clips, prompts and negatives that are drawn.
    """
    default = _default(config)
    if of == "training":
        config = replace(config, sample=default.sample, evaluate=default.evaluate)
    config = (
        _measured(config, default)
        if config.measure.kind != "scores"
        else replace(_contrasted(config, default), measure=default.measure)
    )
    if not config.train.lora_rank:
        config = replace(config, train=replace(config.train, lora_alpha=default.train.lora_alpha))
    config = replace(
        config,
        sample=_sampled(config.sample, default.sample),
        hard_sample=_sampled(config.hard_sample, default.hard_sample),
    )
    if of == "data":
        config = _drawn(config, default)
    return replace(config, plugins=carried.used(config, terms=of != "data"))


def any_length(config: Config) -> Config:
    """The training of `config`, its length apart: the same for all points along one run.

    One step stands for all lengths; none would be the untrained base.
    """
    config = canonical(config, "training")
    return replace(config, train=replace(config.train, steps=1))


def _sampled(settings: Sampling, default: Sampling) -> Sampling:
    if not settings.gain:
        settings = replace(settings, gain_about=default.gain_about)
    if settings.guidance <= 1:
        settings = replace(
            settings, guidance_rule=default.guidance_rule, guidance_low=default.guidance_low
        )
    return settings


def _default(config: Config) -> Config:
    """The profile's own configuration; the classes' defaults for a profile that is unknown here."""
    make = known().get(config.profile)
    return _made(make) if make else Config(profile=config.profile)


@lru_cache(maxsize=64)
def _made(make: Callable[[], Config]) -> Config:
    return make()


def _contrasted(config: Config, default: Config) -> Config:
    """What no negative is drawn by does not matter; nor does the loss, where nothing is trained."""
    loss, macro, trained = config.loss, config.macro, config.train.steps > 0
    if not ((trained and loss.lambda_hard) or config.sample.about_negatives):
        config = replace(
            config, micro=default.micro, hard_sample=default.hard_sample, render=default.render
        )
    if not trained:  # the base model
        train = replace(default.train, steps=0)
        return replace(config, train=train, loss=default.loss, macro=default.macro)
    if loss.lambda_rand == 0:
        config = replace(config, macro=default.macro)
    elif macro.sampling in ("uniform", "batch"):  # a plug-in's may ask for the clusters
        own = replace(default.macro, sampling=macro.sampling, seed=macro.seed)
        config = replace(config, macro=own)
    if loss.lambda_hard == 0:
        loss = replace(loss, hard_negative=default.loss.hard_negative)
        config = replace(config, loss=loss)
    if loss.lambda_rand == loss.lambda_hard == 0:
        loss = replace(loss, negative_noise=default.loss.negative_noise)
        config = replace(config, loss=loss)
    return config


def _measured(config: Config, default: Config) -> Config:
    """Nothing is generated or judged, and training is as long as the measurement."""
    measure = config.measure
    config = replace(config, sample=default.sample, evaluate=default.evaluate)
    if measure.kind == "gain":  # of a whole training
        config = _contrasted(config, default)
        return replace(config, measure=replace(default.measure, kind="gain"))
    config = replace(config, train=replace(config.train, steps=default.train.steps))
    if measure.kind == "alignment":  # both noises are measured
        loss = replace(config.loss, negative_noise=default.loss.negative_noise)
        iterations = default.measure.iterations
        return replace(config, loss=loss, measure=replace(measure, iterations=iterations))
    return replace(
        config,
        data=default.data,
        loss=replace(config.loss, hard_negative=default.loss.hard_negative),
        micro=default.micro,
        hard_sample=default.hard_sample,
        render=default.render,
        measure=replace(measure, steps=default.measure.steps),
    )


def _drawn(config: Config, default: Config) -> Config:
    """Weights of the loss change none of the data that is drawn, except by being zero."""
    loss, train = config.loss, config.train
    rand, hard = float(loss.lambda_rand > 0), float(loss.lambda_hard > 0)
    return replace(
        config,
        loss=replace(
            default.loss,
            lambda_rand=rand,
            lambda_hard=hard,
            lambda_anc=0.0,
            hard_negative=loss.hard_negative,
        ),
        train=replace(
            default.train,
            init=train.init,
            steps=train.steps,
            batch=train.batch,
            prompt_dropout=train.prompt_dropout,
        ),
    )
