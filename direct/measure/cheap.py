"""What cheaper hard negatives would save, for those that a table has found to be equivalent.

The table is that of `python -m sweeps.run cheap_negatives`, in its report's JSON. It says which
rendering has the full one's effect on its own profile; the hours are counted for the plan's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..common.files import read_json
from ..config import Config
from ..settings import override

REPORT = Path("reports/tiny/cheap_negatives.json")
EQUIVALENT = "equivalent"  # a verdict of the table
KINDS = {
    "row": str,
    "verdict": str,
    "relative": float,  # passes to the full rendering's; 0 without any hard negative
    "steps": int,
    "of_steps": int,
    "solver": str,
    "cache": float,
    "frames": str,
    "hard_negative": str,
}


def flops(config: Config) -> float:
    """Of one hard negative, where its cache of features spares nothing."""
    from .counted import count  # torch: seconds that --help does not take

    model = config.model
    if config.render.frames == "half":
        model = model.with_half_the_frames()
    return config.hard_sample.passes * count(replace(config, model=model)).forward


def check(path: Path) -> None:
    """A `UserError` for a file that says nothing of hard negatives."""
    if path.exists():
        _entries(path)


def offer(config: Config, path: Path, hours: Callable[[Config], float]) -> str:
    """The cheapest equivalent rendering, its settings and its GPU-hours, or why there is none.

    hours: GPU-hours of rendering with a configuration, without a cache of features.
    """
    if not path.exists():
        return (
            f"cheaper negatives: no report at {path}; python -m sweeps.run cheap_negatives writes "
            "it, --cheap FILE names another"
        )
    entries, full = _entries(path), hours(config)
    rendered = sum(bool(entry["relative"]) for entry in entries)
    found = [entry for entry in entries if entry["verdict"] == EQUIVALENT]
    priced = [(_priced(config, entry, full, hours), entry) for entry in found]
    (cheapest, settings), entry = min(priced, key=_order, default=((math.inf, ()), {}))
    if not cheapest < full:
        return (
            f"cheaper negatives: {full:,.1f} GPU-hours as planned; of the {rendered} "
            f"renderings in {path}, {len(found)} are equivalent and none of these is cheaper"
        )
    asked = " ".join(f"--set {text}" for text in settings)
    return (
        f"cheaper negatives: {cheapest:,.1f} GPU-hours in place of {full:,.1f} with {asked} "
        f"({entry['row']}: the cheapest that {path} found equivalent, on its profile"
        f"{_lost(entry, entries)})"
    )


def _order(priced: tuple[tuple[float, Any], dict[str, Any]]) -> tuple[float, float]:
    """The cheapest first; of equal hours, the one whose PC is nearest to the full rendering's."""
    (hours, _), entry = priced
    return hours, abs(entry.get("difference") or 0.0)


def _lost(entry: dict[str, Any], entries: list[dict[str, Any]]) -> str:
    """A margin says little where leaving hard negatives out loses less."""
    none = next((x.get("difference") for x in entries if not x["relative"]), None)
    own = entry.get("difference")
    if own is None or none is None:
        return ""
    return f"; PC {own:+z.2f} points there, and {none:+z.2f} without any hard negative"


def _priced(
    config: Config, entry: dict[str, Any], full: float, hours: Callable[[Config], float]
) -> tuple[float, tuple[str, ...]]:
    """GPU-hours with a row's settings, and the settings that differ from the plan's."""
    steps = max(1, round(config.hard_sample.steps * entry["steps"] / entry["of_steps"]))
    wanted = {
        "hard_sample.steps": (config.hard_sample.steps, steps),
        "render.solver": (config.render.solver, entry["solver"]),
        "render.cache": (config.render.cache, float(entry["cache"])),
        "render.frames": (config.render.frames, entry["frames"]),
        "loss.hard_negative": (config.loss.hard_negative, entry["hard_negative"]),
    }
    changed = tuple(f"{name}={new}" for name, (old, new) in wanted.items() if new != old)
    if entry["cache"]:  # what it spares depends on the model: taken from the table
        return full * entry["relative"], changed
    return hours(override(config, *changed)), changed


def _entries(path: Path) -> list[dict[str, Any]]:
    """The table's renderings; a `UserError` for a file that has none."""
    report = read_json(path)
    found = report.get("rendering") if isinstance(report, dict) else None
    if not isinstance(found, list) or not all(map(_is_entry, found)):
        raise UserError(
            f"--cheap {path} is not the JSON of a table that says what hard negatives cost; give "
            f"{REPORT}"
        )
    return found


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict):
        return False
    numbers = {int: (int,), float: (int, float), str: (str,)}
    typed = all(type(entry.get(name)) in numbers[kind] for name, kind in KINDS.items())
    known = isinstance(entry.get("difference"), float | int | None)  # older reports have none
    return typed and known and entry["of_steps"] > 0
