"""Doing a sweep: what is there and still valid, what cells share, then the workers.

A result names the code that made it. Where that is not the code at hand, nothing is run before the
person who started the sweep has chosen: `--accept-old` uses such results, and the tables say so;
`--rerun` makes them again.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial

from direct.common import preempt
from direct.common.errors import UserError
from direct.common.files import check_folder
from direct.common.text import plain
from direct.config import Config, Run
from direct.identity import canonical

from .cell import STAGES, clear, other_code, read_result, read_timing, timed
from .checks import check_machine
from .queue import preparing
from .queue.display import Display
from .queue.estimate import Estimator, words
from .queue.preparing import Preparation
from .queue.status import failures, summary
from .queue.sweep import Sweep
from .queue.units import like
from .schema import Cell

INPUTS = {"weights": "base model", "data": "set of clips"}  # what `Stages.inputs` names
NAMED = 3  # modules that a sentence names


def work(sweep: Sweep) -> dict[str, str]:
    """Runs the cells that have no result yet. Returns `{cell id: reason}` of those that failed."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: workers stopped
    preempt.listen(signal.SIGUSR1)  # ends with a status that says: run again
    root, workers = sweep.root, sweep.workers
    start = time.monotonic()
    refuse(sweep)
    settle_old(sweep)
    failed = {} if workers.retry_failed else failures(sweep.cells, root)
    todo = [cell for cell in sweep.cells if cell.id not in failed]
    if left := [cell for cell in todo if not read_result(root / cell.id)]:
        from direct.train import reference_cache, trajectory

        from .queue import pool, storage, waiting

        # Refused now, and not after what cells share is made. A helper needs only the folders.
        if workers.storage and not workers.join:
            storage.open_study(root, sweep.table.name, workers.storage)
        with nullcontext() if workers.join else waiting.planner(root), Display() as display:
            estimator = Estimator(root, {cell.id: cell.config for cell in sweep.cells})
            display.say(summary(sweep.cells, estimator, workers))
            trajectory.want((cell.config for cell in sweep.cells), sweep.cache)
            reference_cache.want((cell.config for cell in left), sweep.cache)
            elsewhere = workers.join or workers.launcher  # the first cells make what they share
            prepared = 0.0 if elsewhere else _prepare(sweep, left, display, estimator)
            before = _stage_seconds(sweep, left)
            failed |= pool.drain(replace(sweep, cells=todo), display, estimator)
        for cell in left:
            if cell.id in failed or read_result(root / cell.id):
                reference_cache.release(cell.config, sweep.cache)
        after = _stage_seconds(sweep, left)
        spent = {stage: after[stage] - before[stage] for stage in STAGES}
        wall = time.monotonic() - start
        count = min(workers.count, len(left))
        if workers.launcher:  # as many as were at work, on average
            count = max(1, round(sum(spent.values()) / wall))
        print(_where_time_went(wall, prepared, spent, count))
        _tell_diverged(sweep)
    elif not workers.join:
        _show_ended(sweep)
    return failed


def _show_ended(sweep: Sweep) -> None:
    """Brings the study up to date where no cell is left: it may be lost, or its server was away
    when they ended, or a SLURM array ended them. Where nothing can be written, it stays as it is.
    """
    from .queue import storage, waiting

    results = [sweep.root / cell.id / "result.json" for cell in sweep.cells]
    with suppress(waiting.Busy, OSError):
        if sweep.workers.storage or storage.is_behind(sweep.root, sweep.table.name, results):
            from .queue.dashboard import Mirror

            with waiting.planner(sweep.root):
                Mirror(sweep, print).update(last=True)


def refuse(sweep: Sweep) -> None:
    """Raises what `work` would refuse of what is there; changes nothing."""
    for place in (sweep.root, sweep.root / "queue", sweep.cache):
        check_folder(place, "--out")
    old, said = _old(sweep)
    if old and not (sweep.workers.rerun or sweep.workers.accept_old):
        raise UserError(
            f"{said}: --accept-old uses them and marks the tables, --rerun makes them again"
        )
    again = old if sweep.workers.rerun else {}
    failed = {} if sweep.workers.retry_failed else failures(sweep.cells, sweep.root)
    kept = [cell for cell in sweep.cells if cell not in again]
    left = [x for x in kept if x.id not in failed and not read_result(sweep.root / x.id)]
    if again or left:
        check_machine(sweep)
        _check_inputs(replace(sweep, cells=kept))


# Results that are there ---------------------------------------------------------------------------


def _old(sweep: Sweep) -> tuple[dict[Cell, list[str]], str]:
    """The cells whose results other code made, with its modules; and a sentence about them."""
    found = {cell: r for cell in sweep.cells if (r := read_result(sweep.root / cell.id))}
    old = {
        cell: modules
        for cell, result in found.items()
        if (modules := other_code(result, cell.config, sweep.stages))
    }
    said = f"{len(old)} of {len(found)} finished cells were made by other code ({_differing(old)})"
    return old, said


def settle_old(sweep: Sweep) -> None:
    """Accepts or removes results of other code, as the options say."""
    old, said = _old(sweep)
    if not old:
        return
    if sweep.workers.rerun:
        from .queue import waiting

        print(f"{said}; they are made again")
        with waiting.planner(sweep.root):  # nobody else counts on them
            for cell in old:
                clear(sweep.root / cell.id)
    else:
        print(f"{said}; they are used, and the tables say so")


def _differing(old: dict[Cell, list[str]]) -> str:
    counts = Counter(name for modules in old.values() for name in modules)
    first = ", ".join(name for name, _ in counts.most_common(NAMED))
    more = len(counts) - NAMED
    return f"{first} and {more} more module{'s' * (more > 1)}" if more > 0 else first


def _check_inputs(sweep: Sweep) -> None:
    """Refuses to add to results that other weights gave, or other clips.

    The world's clips are made by code, which `settle_old` has asked about.
    """
    for cell in sweep.cells:
        if not (result := read_result(sweep.root / cell.id)):
            continue
        for what, now in sweep.stages.inputs(cell.config).items():
            then = result["provenance"].get(what)
            world = what == "data" and cell.config.data.source == "world"
            if then != now and not world:
                raise UserError(
                    f"{sweep.root / cell.id} was computed with a different {INPUTS[what]} ({what} "
                    f"{then}, now {now}); its scores are not comparable with new ones: give --out, "
                    f"or remove {sweep.root}"
                )


# What cells share ---------------------------------------------------------------------------------


def _tell_diverged(sweep: Sweep) -> None:
    """Once more at the end, where it is seen: which trainings diverged."""
    for cell in sweep.cells:
        if (result := read_result(sweep.root / cell.id)) and result["status"] == "diverged":
            print(plain(f"diverged: {cell.row}, seed {cell.config.seed}: {result['reason']}"))


def _prepare(sweep: Sweep, left: list[Cell], display: Display, estimator: Estimator) -> float:
    """Makes what cells share, before any worker starts. Returns its seconds."""
    start = time.monotonic()
    shared: dict[Config, Config] = {}
    for cell in left:
        shared.setdefault(canonical(cell.config, "data"), cell.config)
    count = sweep.workers.count
    runs = [Run(config, sweep.cache, workers=count) for config in shared.values()]
    known = preparing.known(sweep.cache, like(left[0].config.profile))
    ahead, open_cells = partial(sweep.stages.ahead, runs), [cell.id for cell in left]
    shown = Preparation(ahead, known, open_cells, estimator, count, display)
    shown.show()
    with timed(sweep.root, "prepare"):
        sweep.stages.prepare([replace(run, progress=shown.progress) for run in runs])
    return time.monotonic() - start


def _stage_seconds(sweep: Sweep, cells: list[Cell]) -> dict[str, float]:
    timings = [read_timing(sweep.root / cell.id / "timing.json") for cell in cells]
    return {stage: sum(timing.get(stage, 0.0) for timing in timings) for stage in STAGES}


def _where_time_went(wall: float, prepared: float, spent: dict[str, float], workers: int) -> str:
    """Wall seconds of this run; the stages' are worker seconds divided by the workers."""
    parts = {"prepare": prepared} | {stage: s / workers for stage, s in spent.items()}
    parts["other"] = max(0.0, wall - sum(parts.values()))
    shares = ", ".join(f"{name} {words(s)} ({100 * s / wall:.0f} %)" for name, s in parts.items())
    return f"this run took {words(wall)}: {shares}"
