"""The queue: an Optuna study over a journal file, filled once by a planner and drained by workers.

Run folders are the source of truth. The study is the queue and the dashboard, and is rebuilt from
them when it is lost. No Optuna sampler chooses cells: grid samplers skip failed cells for ever and
run others twice. Each cell is enqueued once under its own hash; `ask` on a journal hands a waiting
trial to exactly one worker. A journal has no heartbeat, so a worker holds a lease on its cell.

    optuna-dashboard runs/<profile>/study.journal
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from direct.config import settings
from direct.errors import UserError
from direct.files import canonical_json

from .ablations import Ablation, Cell
from .cell import read_json, read_result, write_config

if TYPE_CHECKING:
    import optuna

INT_MAX, FLOAT_MAX = 2**31 - 1, 1e9  # ranges that hold every setting; nothing is sampled
ATTEMPTS = 3  # of one cell in one run: a cell that kills its worker every time must end
LEASE_SECONDS = 150.0  # without a touch, on another host; on this host the process is looked up
CLAIM_SECONDS = 3.0  # from the claim of a trial to the lease on its cell
LOCK_GRACE_SECONDS = 10  # of a journal lock that a killed process left


@contextmanager
def planner(root: Path) -> Iterator[None]:
    """The right to plan below `root`, one process at a time; a killed holder frees it."""
    root.mkdir(parents=True, exist_ok=True)
    with open(root / "planner.lock", "a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"another sweep is running in {root}; wait for it, or use another --out"
                            ) from None
        yield


def journal(root: Path) -> Path:
    return Path(os.path.abspath(root / "study.journal"))  # Optuna's locks hang on relative paths


def repair(path: Path) -> str | None:
    """Cuts a torn last line off the journal, keeping a copy; sets an unreadable one aside.

    Call it under `planner`, with no worker alive. Returns what was done, for a person.
    """
    _remove_stale_lock(path.with_name(path.name + ".lock"))
    if not path.exists():
        return None
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    try:
        for line in whole.splitlines():
            json.loads(line)
    except ValueError:
        os.replace(path, path.with_name(path.name + ".damaged"))
        return f"{path} is damaged; set aside, built anew from the results"
    if whole == data:
        return None
    shutil.copyfile(path, path.with_name(path.name + ".bak"))
    with open(path, "rb+") as handle:
        handle.truncate(len(whole))
        os.fsync(handle.fileno())
    return f"{path} ended in a torn line; cut off (copy in {path.name}.bak)"


def _remove_stale_lock(lock: Path) -> None:
    """A lock that stays for a second is of a killed process: workers hold one for milliseconds."""
    if lock.exists():
        before = lock.stat().st_ino
        time.sleep(1)
        with suppress(FileNotFoundError):
            if lock.stat().st_ino == before:
                lock.unlink()


def open_study(root: Path, name: str) -> optuna.Study:
    """The sweep's study, created if it is not there."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    optuna.logging.set_verbosity(logging.WARNING)
    path = str(journal(root))
    lock = JournalFileOpenLock(path, grace_period=LOCK_GRACE_SECONDS)
    return optuna.create_study(
        study_name=name, storage=JournalStorage(JournalFileBackend(path, lock_obj=lock)),
        direction="maximize", load_if_exists=True,
        sampler=optuna.samplers.RandomSampler(seed=0),  # never asked: see `claim`
    )


# Leases -------------------------------------------------------------------------------------------


def take_lease(run: Path) -> str | None:
    """Makes this process the cell's worker: its token, or `None` while another one holds it."""
    run.mkdir(parents=True, exist_ok=True)
    token = uuid.uuid4().hex
    temporary = run / f".lease.{token}"
    owner = {"host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid()),
             "token": token}
    temporary.write_text(canonical_json(owner))
    try:
        os.link(temporary, run / "lease.json")  # fails where there is one: link is atomic
    except FileExistsError:
        return None
    finally:
        temporary.unlink()
    return token


def holds_lease(run: Path, token: str) -> bool:
    return (read_json(run / "lease.json") or {}).get("token") == token


def drop_lease(run: Path, token: str) -> None:
    if holds_lease(run, token):
        (run / "lease.json").unlink(missing_ok=True)


def lease_is_live(run: Path) -> bool:
    """Whether someone works on the cell: by process on this host, by age of the lease elsewhere."""
    try:
        age = time.time() - (run / "lease.json").stat().st_mtime
    except FileNotFoundError:
        return False
    owner = read_json(run / "lease.json") or {}
    if owner.get("host") == socket.gethostname():  # no clock in this: it may jump
        return owner.get("started") is not None and _started(owner["pid"]) == owner["started"]
    return age < LEASE_SECONDS


def _started(pid: int) -> str | None:
    """Start time of a live process, which tells it from a later one of the same number."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return None if fields[0] in "ZX" else fields[19]  # a zombie works no more
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    try:  # no /proc (macOS): only that it is alive
        os.kill(pid, 0)
        return "alive"
    except ProcessLookupError:
        return None
    except PermissionError:
        return "alive"


# Planning -----------------------------------------------------------------------------------------


def plan(study: optuna.Study, table: Ablation, cells: list[Cell], root: Path) -> None:
    """Brings the study in line with the run folders; afterwards every open cell waits once.

    Call it under `planner`. A finished cell gets a complete trial; a cell whose worker died is
    failed and enqueued again, as is one that failed in an earlier run.
    """
    from optuna.trial import TrialState

    # Leases first, trials second: a worker drops its lease after it has told its trial.
    live = {cell.id: lease_is_live(root / cell.id) for cell in cells}
    by_cell: dict[str, list[optuna.trial.FrozenTrial]] = {}
    for trial in study.get_trials(deepcopy=False):
        by_cell.setdefault(trial.user_attrs.get("cell", ""), []).append(trial)
    for cell in cells:
        run, trials = root / cell.id, by_cell.get(cell.id, [])
        states = {trial.state for trial in trials}
        if live[cell.id] or any(_just_claimed(trial) for trial in trials):
            continue
        for trial in trials:
            if trial.state == TrialState.RUNNING:
                study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        if result := read_result(run):
            if not states & {TrialState.COMPLETE, TrialState.PRUNED, TrialState.WAITING}:
                study.add_trial(_finished(table, cell, result, len(trials)))
        elif TrialState.WAITING not in states:
            (run / "lease.json").unlink(missing_ok=True)
            write_config(run, cell.config)
            study.enqueue_trial(parameters(table, cell), _attributes(table, cell, len(trials)))


def _just_claimed(trial: optuna.trial.FrozenTrial) -> bool:
    """Running, and perhaps not yet leased: a worker needs a moment from `ask` to its lease."""
    started = trial.datetime_start
    if trial.state.name != "RUNNING" or started is None:
        return False
    age = datetime.now(started.tzinfo) - started
    return timedelta(0) <= age < timedelta(seconds=CLAIM_SECONDS)  # a clock set back: not recent


def parameters(table: Ablation, cell: Cell) -> dict[str, float | int]:
    """What the dashboard shows as parameters: the numbers that this table varies, and the seed."""
    flat = settings(cell.config)
    varied = {"seed"} | {name for row in table.rows for name in row.values}
    return {name: flat[name] for name in sorted(varied) if type(flat[name]) in (int, float)}


def _attributes(table: Ablation, cell: Cell, attempt: int) -> dict[str, Any]:
    return {"cell": cell.id, "row": cell.row, "attempt": attempt,
            "parameters": parameters(table, cell)}


def _finished(table: Ablation, cell: Cell, result: dict[str, Any], attempt: int) -> Any:
    """A finished trial for a cell whose own one was lost: with the journal, or with its worker."""
    from optuna.distributions import FloatDistribution, IntDistribution
    from optuna.trial import create_trial

    values = parameters(table, cell)
    return create_trial(
        **_outcome(result), params=values,
        distributions={name: IntDistribution(0, INT_MAX) if isinstance(value, int)
                       else FloatDistribution(0.0, FLOAT_MAX) for name, value in values.items()},
        user_attrs=_attributes(table, cell, attempt) | _summary(result),
    )


def _outcome(result: dict[str, Any]) -> dict[str, Any]:
    """Mean PC as the value. A diverged cell is pruned, not failed: a result, never run again."""
    from optuna.trial import TrialState

    if result["status"] == "diverged":
        return {"state": TrialState.PRUNED}
    return {"state": TrialState.COMPLETE, "value": fmean(result["scores"]["PC"])}


def _summary(result: dict[str, Any]) -> dict[str, Any]:
    means = {metric: fmean(values) for metric, values in result["scores"].items()}
    return means | {key: result[key] for key in ("reason",) if key in result}


# Working ------------------------------------------------------------------------------------------


def claim(study: optuna.Study) -> optuna.Trial | None:
    """The next waiting cell, which no other worker gets; `None` when the queue is empty."""
    from optuna.trial import TrialState

    while study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        trial = study.ask()
        if "cell" in trial.user_attrs:
            for name, value in trial.user_attrs["parameters"].items():
                if isinstance(value, int):
                    trial.suggest_int(name, 0, INT_MAX)
                else:
                    trial.suggest_float(name, 0.0, FLOAT_MAX)
            return trial
        study.tell(trial, state=TrialState.FAIL)  # the last cell went to another worker
    return None


def finish(study: optuna.Study, trial: optuna.Trial, result: dict[str, Any]) -> None:
    """Tells the study a cell's result, with every mean score as an attribute."""
    for name, value in _summary(result).items():
        trial.set_user_attr(name, value)
    outcome = _outcome(result)
    study.tell(trial, outcome.get("value"), outcome["state"], skip_if_finished=True)


def fail(study: optuna.Study, trial: optuna.Trial) -> None:
    from optuna.trial import TrialState

    study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
