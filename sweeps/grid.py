"""A table without a file: the values of one setting, or all combinations of several.

python -m sweeps.run --grid train.learning_rate=1e-4,3e-4 --grid sample.guidance=1,3
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from direct.common.errors import UserError
from direct.config import Config
from direct.settings import override, settings

from .experiments import words
from .own_tables import repeated
from .schema import Ablation, Row


@dataclass(frozen=True)
class Axis:
    """One setting of a grid, and the values that it takes."""

    setting: str
    values: tuple[Any, ...]  # of the setting's type
    labels: tuple[str, ...]  # as they were written


def table_of(texts: Sequence[str], base: Config) -> Ablation:
    """The table of `--grid` options: a row for each value, or for each combination of several.

    The baseline is the configuration's own value, or the first where the grid lacks that.
    """
    axes = [_axis(text, base) for text in texts]
    if twice := repeated([axis.setting for axis in axes]):
        raise UserError(f"--grid {twice} is given twice; give all of its values at once")
    rows = [
        Row(", ".join(labels), dict(zip((axis.setting for axis in axes), values, strict=True)))
        for labels, values in zip(
            product(*(axis.labels for axis in axes)),
            product(*(axis.values for axis in axes)),
            strict=True,
        )
    ]
    own = settings(base)
    places = [
        axis.values.index(own[axis.setting]) if own[axis.setting] in axis.values else 0
        for axis in axes
    ]
    names = ", ".join(axis.setting for axis in axes)
    return Ablation(
        "grid",
        "Grid",
        "; ".join(f"{axis.setting}: {', '.join(axis.labels)}" for axis in axes),
        names,
        tuple(rows),
        ", ".join(axis.labels[i] for axis, i in zip(axes, places, strict=True)),
        axis=names if len(axes) == 1 and _logarithmic(axes[0].values) else None,
        plot="heatmap" if len(axes) == 2 else "rows",
    )


def name_of(table: Ablation) -> list[str]:
    """What a grid is called by, as texts: its settings, and the values of each."""
    values = {name: [row.values[name] for row in table.rows] for name in table.rows[0].values}
    return [words(name, tuple(dict.fromkeys(found))) for name, found in values.items()]


def _axis(text: str, base: Config) -> Axis:
    setting, separator, listed = (part.strip() for part in text.partition("="))
    labels = tuple(part.strip() for part in listed.split(","))
    if not separator or not all(labels):
        raise UserError(f"--grid {text} lists no values; write it as loss.lambda_hard=0,0.02,0.1")
    if option := {"seed": "--seeds", "profile": "--profile"}.get(setting):
        raise UserError(f"--grid {text}: {setting} is no axis; give {option}")
    if len(labels) < 2:
        raise UserError(f"--grid {text} has one value; give two or more, or use --set")
    values = [_value(setting, label, base, text) for label in labels]
    if (twice := repeated(values)) is not None:
        raise UserError(f"--grid {text} has the value {twice} twice; leave one out")
    return Axis(setting, tuple(values), labels)


def _value(setting: str, label: str, base: Config, text: str) -> Any:
    try:
        return settings(override(base, f"{setting}={label}"))[setting]
    except UserError as error:
        said = str(error).removeprefix(f"--set {setting}={label}: ")
        raise UserError(f"--grid {text}: {said}") from None


def _logarithmic(values: Sequence[Any]) -> bool:
    numbers = all(
        isinstance(value, (int, float)) and not isinstance(value, bool) for value in values
    )
    return numbers and min(values) >= 0 and sum(value > 0 for value in values) > 1
