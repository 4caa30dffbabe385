"""The results' interface: one long-form frame, read from `result.json` files alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cell import read_result

if TYPE_CHECKING:
    import pandas as pd


def folder(profile: str, out: Path | str = ".") -> Path:
    """Where the profile's run folders are."""
    return Path(out) / "runs" / profile


def load(profile: str, out: Path | str = ".") -> pd.DataFrame:
    """Every score: columns cell, seed, prompt, metric, value; one row per number.

    `cell` is the hash of the configuration (its settings: `runs/<profile>/<cell>/config.json`).
    Damaged results are named, set aside and absent; a diverged cell has no scores.
    """
    return frame(read_all(folder(profile, out)))


def frame(results: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """`load`'s frame of these results."""
    import pandas as pd

    columns = ["cell", "seed", "prompt", "metric", "value"]
    rows = [
        (result["cell"], result["config"]["seed"], prompt, metric, value)
        for result in results.values()
        for metric, values in result["scores"].items()
        for prompt, value in zip(result["prompts"], values, strict=True)
    ]
    return pd.DataFrame(rows, columns=columns)


def read_all(root: Path) -> dict[str, dict[str, Any]]:
    """`{cell id: result}` of every whole result below `root`, in the order of ids."""
    found = {run.name: read_result(run) for run in sorted(root.glob("*/")) if run.is_dir()}
    return {name: result for name, result in found.items() if result}
