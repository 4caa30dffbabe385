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
from typing import Any

from ..common.errors import UserError
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
    "scores",
    "source",
    "target",
    "term",
]


def target(weight: Any = 0.0, reference: bool = False, prompted: bool = False) -> Any:
    """A target velocity of the loss: + weight d(v, u), with d as in Eq. 6; below 0 it repels.

    The function is given `seen` (`train.terms.Seen`) and returns u [B, C, T, H, W], without a
    gradient. reference: it needs `seen.v_ref`. prompted: only samples that keep their prompt have
    the term, as the paper's negatives.
    """
    return _weighted("target", weight, {"reference": reference, "prompted": prompted})


def term(weight: Any = 0.0, reference: bool = False, prompted: bool = False) -> Any:
    """Another term of the loss: + weight f(v, seen), differentiable, of shape [] or [B].

    The options are those of `target`.
    """
    return _weighted("term", weight, {"reference": reference, "prompted": prompted})


def sampler(function: Any = None) -> Any:
    """Negatives for macro.sampling=<name>: f(z, labels, laws) -> draw(samples, u) -> negatives.

    z [N, D] float64: pooled prompts; labels [N]: their clusters (macro.clusters); laws [N] of str.
    draw is given samples [B] and u [B] uniform in [0, 1), and returns indices [B] in [0, N).
    """
    return _registered("sampler", function)


def judge(*given: Any, **scores: Score) -> Any:
    """A judge for evaluate.judge=<name>; `scores` says how each of its metrics is shown.

    The function makes the judge, once: f() -> score(video uint8 [T, H, W, 3], sample) -> {metric:
    number}. sample (`data.sample.Sample`) has the prompt and the record.
    """
    if given or not scores or not all(isinstance(score, Score) for score in scores.values()):
        raise UserError(
            'a judge declares its metrics; write @plugins.judge(sharp=plugins.Score("sharpness")), '
            "with a Score for each"
        )
    return _registered("judge", None, options={"scores": scores})


def source(function: Any = None, *, evaluation: Callable[..., Any] | None = None) -> Any:
    """Training clips for data.source=<name>: f(data) -> list of `data.sample.Sample`.

    data: the section of settings. Clips with hard negatives need `Sample.perturb`; without, set
    loss.lambda_hard=0. evaluation(evaluate): the prompts that are judged, as samples; without it,
    those of evaluate.prompts_file.
    """
    return _registered("source", function, options={"evaluation": evaluation})


def family(function: Any = None) -> Any:
    """A family of models: f() -> an object with the names that `models.families` lists."""
    return _registered("family", function)


def profile(function: Any = None) -> Any:
    """A profile for --profile <name>: f() -> Config, whose `profile` is the function's name."""
    return _registered("profile", function)


def _registered(kind: str, function: Any, **more: dict[str, Any]) -> Any:
    """A decorator's result, written with parentheses (the function comes later) or without."""
    if function is None:
        return lambda later: register(kind, later, **more)
    return register(kind, function, **more)


def _weighted(kind: str, weight: Any, options: dict[str, bool]) -> Any:
    function, weight = (weight, 0.0) if callable(weight) else (None, weight)
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise UserError(f"weight={weight!r} of a {kind} is not a number; write weight=0.0")
    return _registered(kind, function, settings={"weight": float(weight)}, options=options)


def scores(judge: str) -> dict[str, Score]:
    """What the loaded judge of this name declares; nothing of another name."""
    found = [entry.options["scores"] for entry in entries("judge") if entry.name == judge]
    return found[0] if found else {}


def metrics() -> dict[str, dict[str, Any]]:
    """{metric: {"title", "scale", "decimals", "group", "better"}} of the judges that are loaded."""
    return {
        metric: vars(score) | {"group": score.group or entry.name}
        for entry in entries("judge")
        for metric, score in entry.options["scores"].items()
    }
