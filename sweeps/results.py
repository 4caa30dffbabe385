"""The results' interface: one long-form frame, read from the run folders alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from direct.identity import restored
from direct.settings import settings

from . import experiments
from .cell import read_result

if TYPE_CHECKING:
    import pandas as pd

    from .experiments import Experiment


def folder(profile: str, out: Path | str = ".") -> Path:
    """Where the profile's run folders are."""
    return Path(out) / "runs" / profile


def load(profile: str, out: Path | str = ".", experiment: str = "") -> pd.DataFrame:
    """Every score: a row per number, and per row of an experiment that shows it.

    Columns: cell, seed, prompt, metric, value; experiment, table, row; and every setting that
    varies between the cells of an experiment here, as `train.learning_rate`. So

        frame[frame.metric == "PC"].groupby(["experiment", "row"]).value.mean()

    are tables' numbers. `cell` is the hash of the configuration (its settings:
    `runs/<profile>/<cell>/config.json`). Where two experiments share a cell its scores are there
    twice; give `experiment`, as "lr2e-4", to read one alone. Cells of none have "" for its columns.
    Damaged results are named, set aside and absent; a diverged cell has no scores. A name that is
    no experiment's is a `UserError`.
    """
    root = folder(profile, out)
    found, faults = experiments.recorded(root)
    for fault in faults:
        print(fault)
    if experiment:
        found = experiments.named(experiment, found)
    results = read_all(root)
    if experiment:
        ids = {cell.id for x in found for cell in x.cells}
        results = {name: result for name, result in results.items() if name in ids}
    return frame(results).merge(_shown(found, results), on="cell", how="left")


def _shown(found: list[Experiment], results: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Which cell stands in which row, and its settings: a row per cell and place."""
    import pandas as pd

    names = _varied(found)
    places: dict[str, list[tuple[str, str, str]]] = {name: [] for name in results}
    for x in found:
        for cell in x.cells:
            if cell.id in places:
                places[cell.id].append((x.name, x.table.name, cell.row))
    rows = []
    for name, own in places.items():
        flat = settings(restored(results[name]["config"]))
        values = [",".join(v) if isinstance(v := flat.get(key), tuple) else v for key in names]
        rows += [(name, *place, *values) for place in own or [("", "", "")]]
    return pd.DataFrame(rows, columns=["cell", "experiment", "table", "row", *names])


def _varied(found: list[Experiment]) -> list[str]:
    """The settings that take two values or more within an experiment, but for the seed."""
    varied = set()
    for x in found:
        own = [settings(cell.config) for cell in x.cells]
        known = {name for flat in own for name in flat}  # a plug-in's are in the cells that use it
        varied |= {name for name in known if len({flat.get(name) for flat in own}) > 1}
    return sorted(varied - {"seed"})


def frame(results: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """The scores alone, each once: columns cell, seed, prompt, metric, value."""
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
