"""Whether a result says what tables read: a right checksum is no right content.

An archive comes from elsewhere, and whoever made it may have computed the checksum of anything.
"""

from __future__ import annotations

import math
from typing import Any

LARGEST = 1e300  # of a number: sums and squares of scores stay finite well below


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


def _extras(result: dict[str, Any], prompts: int) -> bool:
    """What only some results have."""
    captions = result.get("captions", [""] * prompts)
    known = _texts(captions) and len(captions) == prompts
    code, negatives = result.get("code", {}), result.get("negatives", {})
    return (
        known
        and isinstance(code, dict)
        and _texts(list(code.values()))
        and isinstance(negatives, dict)
        and _numbers(list(negatives.values()), len(negatives))
        and isinstance(result.get("samples", {}), dict)
    )


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
