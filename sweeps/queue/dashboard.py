"""What the dashboard shows: an Optuna study with a trial for every cell that has ended.

    optuna-dashboard runs/<profile>/study.journal --artifact-dir runs/<profile>/artifacts

Nobody reads the study but a person. Only a planner writes it, from the run folders, so whatever it
lacks is added later and one that is lost is built anew. No Optuna sampler chooses cells: grid
samplers skip failed cells for ever and run others twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from direct.settings import settings

from ..cell import failure_of, read_result
from ..schema import Ablation, Cell
from . import storage
from .sweep import Sweep

if TYPE_CHECKING:
    import optuna

ARTIFACTS = "artifacts"  # below the run folders: the clips that the dashboard shows
RETRY_SECONDS = 30.0  # after an attempt that failed: each may wait long, and workers wait with it
INT_MAX, FLOAT_MAX = 2**31 - 1, 1e9  # ranges that hold every setting; nothing is sampled


class Mirror:
    """The study of one sweep. What keeps it from being written is said, and stops no work."""

    def __init__(self, sweep: Sweep, say: Callable[[str], None]):
        self.sweep, self.say, self.said = sweep, say, ""
        self.failed = -RETRY_SECONDS  # when it last could not be written
        self.study: optuna.Study | None = None
        self.behind = {cell.id: cell for cell in sweep.cells}  # what it may not show yet

    def update(self, left: Collection[Cell] = (), last: bool = False) -> None:
        """Adds the cells that have ended; `left` have not. Call it under `waiting.planner`.

        last: also where an attempt has failed a moment ago.
        """
        open_cells = {cell.id for cell in left}
        ended = [cell for name, cell in self.behind.items() if name not in open_cells]
        if not ended or (not last and time.monotonic() - self.failed < RETRY_SECONDS):
            return
        try:
            self.study = self.study or self._open()
            add(self.study, self.sweep.table, ended, self.sweep.root)
        except Exception as error:
            if (reason := storage.problem(error)) != self.said:
                self.say(f"{reason}; the dashboard shows these results later")
            self.said, self.failed = reason, time.monotonic()
            return
        self.said = ""
        self.behind = {name: x for name, x in self.behind.items() if name in open_cells}

    def _open(self) -> optuna.Study:
        root, url = self.sweep.root, self.sweep.workers.storage
        if not url and (said := storage.repair(root)):
            self.say(said)
        return storage.open_study(root, self.sweep.table.name, url)


def add(study: optuna.Study, table: Ablation, cells: list[Cell], root: Path) -> None:
    """Adds a trial for each of the cells that has ended and whose end the study does not show."""
    from optuna.trial import TrialState

    known = set()
    for trial in study.get_trials(deepcopy=False):
        if trial.state.is_finished():
            known.add((trial.user_attrs.get("cell"), trial.user_attrs.get("end")))
        elif trial.state == TrialState.RUNNING:  # of a process that was killed here
            study.tell(trial.number, state=TrialState.FAIL)
    for cell in cells:
        end = _ended(root / cell.id)
        if end and (cell.id, end["user_attrs"]["end"]) not in known:
            _add(study, _trial(table, cell, end), _last_clips(root / cell.id))


def _add(study: optuna.Study, trial: optuna.trial.FrozenTrial, clips: list[Path]) -> None:
    if not clips:
        study.add_trial(trial)
        return
    from optuna.artifacts import FileSystemArtifactStore, upload_artifact
    from optuna.trial import TrialState, create_trial

    # Optuna takes no artifact for a trial that has finished.
    study.add_trial(
        create_trial(
            state=TrialState.RUNNING,
            user_attrs=trial.user_attrs,
            params=trial.params,
            distributions=trial.distributions,
        )
    )
    running = study.get_trials(deepcopy=False)[-1]
    folder = clips[0].parents[2] / ARTIFACTS
    folder.mkdir(exist_ok=True)
    for path in clips:
        upload_artifact(
            artifact_store=FileSystemArtifactStore(folder),
            file_path=str(path),
            study_or_trial=running,
            storage=study._storage,  # a trial that is added has no handle of its own
        )
    study.tell(running.number, trial.values, trial.state)


def _last_clips(run: Path) -> list[Path]:
    """Those that training left at its last look (train.sample_every): step-00000100-1.mp4, ..."""
    clips = sorted((run / "samples").glob("step-*"))
    last = clips[-1].name.rpartition("-")[0] if clips else ""
    return [path for path in clips if path.name.startswith(last)]


def _ended(run: Path) -> dict[str, Any] | None:
    """How the cell ended, as Optuna says it; `end` tells one attempt's end from another's.

    Mean PC, or the first metric, is the value.
    """
    from optuna.trial import TrialState

    result, reason = read_result(run), failure_of(run)
    if result is None:
        attributes = {"end": reason, "reason": reason}
        return {"state": TrialState.FAIL, "user_attrs": attributes} if reason else None
    attributes = {"end": result["checksum"]}
    if result["status"] == "diverged":
        attributes["reason"] = result["reason"]
        return {"state": TrialState.PRUNED, "user_attrs": attributes}
    means = {metric: fmean(values) for metric, values in result["scores"].items()}
    value = means["PC"] if "PC" in means else next(iter(means.values()))
    return {"state": TrialState.COMPLETE, "value": value, "user_attrs": attributes | means}


def _trial(table: Ablation, cell: Cell, end: dict[str, Any]) -> optuna.trial.FrozenTrial:
    from optuna.distributions import FloatDistribution, IntDistribution
    from optuna.trial import create_trial

    values = parameters(table, cell)
    ranges = {
        name: IntDistribution(-INT_MAX, INT_MAX)
        if isinstance(value, int)
        else FloatDistribution(-FLOAT_MAX, FLOAT_MAX)
        for name, value in values.items()
    }
    own = {"cell": cell.id, "row": cell.row, "seed": cell.config.seed}
    attributes = own | end["user_attrs"]
    return create_trial(
        **end | {"user_attrs": attributes}, params=values, distributions=dict(ranges)
    )


def parameters(table: Ablation, cell: Cell) -> dict[str, float | int]:
    """What the dashboard shows as parameters: the numbers that this table varies, and the seed."""
    flat = settings(cell.config)
    varied = {"seed"} | {name for row in table.rows for name in row.values}
    # A plug-in's setting is in the cells that use it.
    found: dict[str, Any] = {name: flat.get(name) for name in sorted(varied)}
    return {name: value for name, value in found.items() if type(value) in (int, float)}
