"""Whether a result says what tables read: a right checksum is no right content.

An archive comes from elsewhere, and whoever made it may have computed the checksum of anything.
"""

from __future__ import annotations

import math
from typing import Any

LARGEST = 1e12  # of a number: a table still has room for it
JUDGES = ("world", "videophy", "worldmodelbench")  # whose scores have the ranges below
MOST = dict.fromkeys(("SA", "PC", "AVG", "PCcap", "Frame", "Temp", "Mass", "Penetr"), 1.0)
MOST |= {"Instr": 3.0, "Total": 10.0}
ROUNDING = 1e-6
DRAWS = ("sum_p_squared", "changed", "distance", "uniform_distance")  # of negatives, all or none


def sound(result: Any) -> bool:
    """Whether a parsed result has every part that tables read, each of its kind and size."""
    if not isinstance(result, dict) or not _objects(result, "config", "scores", "provenance"):
        return False
    prompts, scores, seed = result.get("prompts"), result["scores"], result["config"].get("seed")
    if not (type(seed) is int and seed >= 0):
        return False
    if not isinstance(prompts, list) or not _texts(prompts) or len(set(prompts)) < len(prompts):
        return False
    if not _extras(result, len(prompts)):
        return False
    if result.get("status") == "diverged":
        return isinstance(result.get("reason"), str) and not scores
    columns = scores.values()
    whole = bool(prompts) and bool(scores) and all(_numbers(x, len(prompts)) for x in columns)
    return result.get("status") == "done" and whole


def in_range(result: dict[str, Any]) -> bool:
    """Whether a sound result's scores lie where its judge puts them; one's own judge: anywhere."""
    evaluate = result["config"].get("evaluate")
    if not isinstance(evaluate, dict) or evaluate.get("judge") not in JUDGES:
        return True
    columns = [(values, MOST[name]) for name, values in result["scores"].items() if name in MOST]
    return all(-ROUNDING <= x <= most + ROUNDING for values, most in columns for x in values)


def _extras(result: dict[str, Any], prompts: int) -> bool:
    """What only some results have."""
    captions = result.get("captions", [""] * prompts)
    known = _texts(captions) and len(captions) == prompts
    code = result.get("code", {})
    return (
        known
        and isinstance(code, dict)
        and _texts(list(code.values()))
        and _origin(result["provenance"])
        and _negatives(result.get("negatives", {}))
        and _samples(result.get("samples", {}))
    )


def _origin(provenance: dict[str, Any]) -> bool:
    """Words, and two kinds of numbers that measurements add."""
    own = {name: x for name, x in provenance.items() if name not in ("parameters", "step_ratio")}
    packages, ratios = own.pop("packages", {}), provenance.get("step_ratio", {})
    return (
        isinstance(own.get("commit"), str)
        and _texts(list(own.values()))
        and isinstance(packages, dict)
        and _texts(list(packages.values()))
        and isinstance(ratios, dict)
        and _numbers([*ratios.values(), provenance.get("parameters", 0)], len(ratios) + 1)
    )


def _negatives(found: Any) -> bool:
    if not isinstance(found, dict) or not _numbers(list(found.values()), len(found)):
        return False
    return "distance" not in found or (set(DRAWS) <= set(found) and found["uniform_distance"] > 0)


def _samples(found: Any) -> bool:
    """Of a measurement: by name, for each step, a number or nothing for each sample."""
    if not isinstance(found, dict):
        return False
    shapes = set()
    for steps in found.values():
        if not isinstance(steps, list) or not all(isinstance(step, list) for step in steps):
            return False
        numbers = [x for step in steps for x in step if x is not None]
        if not _numbers(numbers, len(numbers)):
            return False
        shapes.add(tuple(map(len, steps)))
    return len(shapes) < 2


def _objects(result: dict[str, Any], *names: str) -> bool:
    return all(isinstance(result.get(name), dict) for name in names)


def _texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _numbers(values: Any, count: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) == count
        and all(type(x) in (int, float) and -LARGEST < x < LARGEST for x in values)
        and all(map(math.isfinite, values))
    )
