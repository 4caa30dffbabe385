"""What a user's own file adds: terms of the loss, negatives, judges, clips, models, profiles.

A file registers by decorators, and `load` imports it. Its functions are then known by their names:

    from direct import plugins

    @plugins.target(weight=0.0)  # python -m sweeps.run my_file.py --set shuffled.weight=-0.05
    def shuffled(seen, *, shift: int = 1):
        return seen.eps - seen.x.roll(shift, 2)

Keyword-only parameters with defaults are settings, as shuffled.shift=2. They belong to the name of
a cell that uses the function, and so does its fingerprint; a cell that does not use it keeps its
name. An installed package does the same by an entry point of the group "direct.plugins".
docs/extend.md shows each kind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from .files import installed, load, loaded, need
from .registry import Score, entries, register

__all__ = [
    "Score",
    "family",
    "installed",
    "judge",
    "load",
    "loaded",
    "metrics",
    "need",
    "profile",
    "sampler",
    "source",
    "target",
    "term",
]
F = TypeVar("F", bound=Callable[..., Any])


def target(weight: float = 0.0, reference: bool = False, prompted: bool = False) -> Any:
    """A target velocity of the loss: + weight d(v, u), with d as in Eq. 6; below 0 it repels.

    The function is given `seen` (`train.terms.Seen`) and returns u [B, C, T, H, W], without a
    gradient. reference: it needs `seen.v_ref`. prompted: only samples that keep their prompt have
    the term, as the paper's negatives.
    """
    options = {"reference": reference, "prompted": prompted}
    return lambda function: register("target", function, {"weight": float(weight)}, options)


def term(weight: float = 0.0, reference: bool = False, prompted: bool = False) -> Any:
    """Another term of the loss: + weight f(v, seen), differentiable, of shape [] or [B].

    The options are those of `target`.
    """
    options = {"reference": reference, "prompted": prompted}
    return lambda function: register("term", function, {"weight": float(weight)}, options)


def sampler(function: F) -> F:
    """Negatives for macro.sampling=<name>: f(z, labels, laws) -> draw(samples, u) -> negatives.

    z [N, D] float64: pooled prompts; labels [N]: their clusters (macro.clusters); laws [N] of str.
    draw is given samples [B] and u [B] uniform in [0, 1), and returns indices [B] in [0, N).
    """
    return register("sampler", function)


def judge(**scores: Score) -> Any:
    """A judge for evaluate.judge=<name>; `scores` says how each of its metrics is shown.

    The function makes the judge, once: f() -> score(video uint8 [T, H, W, 3], sample) -> {metric:
    number}. sample (`data.sample.Sample`) has the prompt and the record.
    """
    return lambda function: register("judge", function, options={"scores": scores})


def source(evaluation: Callable[..., Any] | None = None) -> Any:
    """Training clips for data.source=<name>: f(data) -> list of `data.sample.Sample`.

    data: the section of settings. Clips with hard negatives need `Sample.perturb`; without, set
    loss.lambda_hard=0. evaluation(evaluate): the prompts that are judged, as samples; without it,
    those of evaluate.prompts_file.
    """
    return lambda function: register("source", function, options={"evaluation": evaluation})


def family(function: F) -> F:
    """A family of models: f() -> an object with the names that `models.families` lists."""
    return register("family", function)


def profile(function: F) -> F:
    """A profile for --profile <name>: f() -> Config, whose `profile` is the function's name."""
    return register("profile", function)


def metrics() -> dict[str, dict[str, Any]]:
    """{metric: {"title", "scale", "decimals", "group", "better"}} of the judges that are loaded."""
    return {
        metric: vars(score) | {"group": score.group or entry.name}
        for entry in entries("judge")
        for metric, score in entry.options["scores"].items()
    }
