"""The queue: an Optuna study, filled once by a planner and drained by workers.

Run folders are the source of truth. The study is the queue and the dashboard, and is rebuilt from
them when it is lost. No Optuna sampler chooses cells: grid samplers skip failed cells for ever and
run others twice. Each cell is enqueued once under its own hash; `ask` hands a waiting trial to
exactly one worker, on either storage, and the worker holds a lease on its cell (`leases`).

    optuna-dashboard runs/<profile>/study.journal --artifact-dir runs/<profile>/artifacts
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from filelock import Timeout

from direct.common.errors import UserError
from direct.common.files import lock
from direct.settings import settings

from ..cell import read_result, write_config
from ..schema import Ablation, Cell
from . import leases
from .storage import patient

if TYPE_CHECKING:
    import optuna

INT_MAX, FLOAT_MAX = 2**31 - 1, 1e9  # ranges that hold every setting; nothing is sampled
CELL = re.compile("[0-9a-f]{12}")  # a cell's id
ARTIFACTS = "artifacts"  # below the run folders: the clips that the dashboard shows
CLAIM_SECONDS = 15.0  # from the claim of a trial to the lease on its cell, on a loaded machine


class Busy(UserError):
    """Another process plans."""


@contextmanager
def planner(root: Path) -> Iterator[None]:
    """The right to plan below `root`, one process at a time; a killed holder frees it."""
    with ExitStack() as held:
        try:
            held.enter_context(lock(root / "planner.lock", seconds=0))
        except Timeout:
            raise Busy(
                f"another sweep is running in {root}; wait for it, help it with --join, or "
                "use another --out"
            ) from None
        yield


# Planning -----------------------------------------------------------------------------------------


@patient
def plan(study: optuna.Study, table: Ablation, cells: list[Cell], root: Path) -> None:
    """Brings the study in line with the run folders; afterwards every open cell waits once.

    Call it under `planner`. A finished cell gets a complete trial; a cell whose worker died is
    failed and enqueued again, as is one that failed in an earlier run.
    """
    from optuna.trial import TrialState

    # Leases before trials: a worker drops its lease after it has told its trial. And after: it may
    # just have taken one.
    live = {cell.id: leases.live(root / cell.id) for cell in cells}
    by_cell: dict[str, list[optuna.trial.FrozenTrial]] = {}
    for trial in study.get_trials(deepcopy=False):
        by_cell.setdefault(trial.user_attrs.get("cell", ""), []).append(trial)
    for cell in cells:
        run, trials = root / cell.id, by_cell.get(cell.id, [])
        states = {trial.state for trial in trials}
        if live[cell.id] or any(map(_just_claimed, trials)) or leases.live(run):
            continue
        for trial in trials:
            if trial.state == TrialState.RUNNING:
                study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        if result := read_result(run):
            if not states & {TrialState.COMPLETE, TrialState.PRUNED, TrialState.WAITING}:
                study.add_trial(_finished(table, cell, result, len(trials)))
        elif TrialState.WAITING not in states and not leases.live(run):  # not taken meanwhile
            leases.revoke(run)
            write_config(run, cell.config)
            study.enqueue_trial(parameters(table, cell), _attributes(table, cell, len(trials)))


def _just_claimed(trial: optuna.trial.FrozenTrial) -> bool:
    """Running, and perhaps not yet leased: a worker needs a moment from `ask` to its lease."""
    started = trial.datetime_start
    if trial.state.name != "RUNNING" or started is None:
        return False
    age = datetime.now(started.tzinfo) - started
    return timedelta(0) <= age < timedelta(seconds=CLAIM_SECONDS)  # a clock set back: not recent


@patient
def waiting(study: optuna.Study) -> bool:
    """Whether a cell waits for a worker."""
    from optuna.trial import TrialState

    return bool(study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))


def parameters(table: Ablation, cell: Cell) -> dict[str, float | int]:
    """What the dashboard shows as parameters: the numbers that this table varies, and the seed."""
    flat = settings(cell.config)
    varied = {"seed"} | {name for row in table.rows for name in row.values}
    # A plug-in's setting is in the cells that use it.
    found: dict[str, Any] = {name: flat.get(name) for name in sorted(varied)}
    return {name: value for name, value in found.items() if type(value) in (int, float)}


def _attributes(table: Ablation, cell: Cell, attempt: int) -> dict[str, Any]:
    return {
        "cell": cell.id,
        "row": cell.row,
        "seed": cell.config.seed,
        "attempt": attempt,
        "parameters": parameters(table, cell),
    }


def _finished(table: Ablation, cell: Cell, result: dict[str, Any], attempt: int) -> Any:
    """A finished trial for a cell whose own one was lost: with the journal, or with its worker."""
    from optuna.distributions import FloatDistribution, IntDistribution
    from optuna.trial import create_trial

    values = parameters(table, cell)
    return create_trial(
        **_outcome(result),
        params=values,
        distributions={
            name: IntDistribution(0, INT_MAX)
            if isinstance(value, int)
            else FloatDistribution(-FLOAT_MAX, FLOAT_MAX)
            for name, value in values.items()
        },
        user_attrs=_attributes(table, cell, attempt) | _summary(result),
    )


def _outcome(result: dict[str, Any]) -> dict[str, Any]:
    """Mean PC, or the first metric, is the value. A diverged cell is pruned: never run again."""
    from optuna.trial import TrialState

    if result["status"] == "diverged":
        return {"state": TrialState.PRUNED}
    scores = result["scores"]
    return {
        "state": TrialState.COMPLETE,
        "value": fmean(scores["PC" if "PC" in scores else next(iter(scores))]),
    }


def _summary(result: dict[str, Any]) -> dict[str, Any]:
    means = {metric: fmean(values) for metric, values in result["scores"].items()}
    return means | {key: result[key] for key in ("reason",) if key in result}


# Working ------------------------------------------------------------------------------------------


@patient
def claim(study: optuna.Study) -> optuna.Trial | None:
    """The next waiting cell, which no other worker gets; `None` when the queue is empty."""
    from optuna.trial import TrialState

    while waiting(study):
        trial = study.ask()
        if _ours(trial.user_attrs):
            for name, value in trial.user_attrs["parameters"].items():
                if isinstance(value, int):
                    trial.suggest_int(name, 0, INT_MAX)
                else:
                    trial.suggest_float(name, -FLOAT_MAX, FLOAT_MAX)
            return trial
        study.tell(trial, state=TrialState.FAIL)  # the last cell went to another worker
    return None


def _ours(attributes: dict[str, Any]) -> bool:
    """Whether a trial is one of `plan`'s. Another's, or a damaged one, must not name a folder."""
    cell, values = attributes.get("cell"), attributes.get("parameters")
    return (
        isinstance(cell, str)
        and CELL.fullmatch(cell) is not None
        and isinstance(values, dict)
        and all(type(value) in (int, float) for value in values.values())
        and isinstance(attributes.get("attempt"), int)
    )


@patient
def finish(study: optuna.Study, trial: optuna.Trial, result: dict[str, Any]) -> None:
    """Tells the study a cell's result, with every mean score as an attribute."""
    for name, value in _summary(result).items():
        trial.set_user_attr(name, value)
    outcome = _outcome(result)
    study.tell(trial, outcome.get("value"), outcome["state"], skip_if_finished=True)


@patient
def attach(trial: optuna.Trial, run: Path) -> None:
    """Shows the last clips that training left (train.sample_every) in the dashboard."""
    found = sorted((run / "samples").glob("step-*"))
    if not found:
        return
    from optuna.artifacts import FileSystemArtifactStore, upload_artifact

    folder = run.parent / ARTIFACTS
    folder.mkdir(exist_ok=True)
    store = FileSystemArtifactStore(folder)
    step = found[-1].name.rpartition("-")[0]  # of step-00000100-1.mp4
    for path in (path for path in found if path.name.startswith(step)):
        upload_artifact(artifact_store=store, file_path=str(path), study_or_trial=trial)


@patient
def fail(study: optuna.Study, trial: optuna.Trial) -> None:
    from optuna.trial import TrialState

    study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)


@patient
def give_back(study: optuna.Study, trial: optuna.Trial) -> None:
    """Puts a cell that was stopped half-way back into the queue; its lease is still held."""
    attributes = dict(trial.user_attrs)
    fail(study, trial)
    study.enqueue_trial(
        attributes["parameters"], attributes | {"attempt": attributes["attempt"] + 1}
    )
