"""Runs an ablation of the paper and writes its table; what is done already is not done again.

python -m sweeps.run lambda_hard              # Table S3 on the tiny profile
python -m sweeps.run lambda_hard --dry-run    # its cells, their state and cost
python -m sweeps.run search                   # App. C's greedy search, and TPE, on validation
python -m sweeps.run status                   # every sweep
python -m sweeps.run all                      # every sweep that is not done, then the report
python -m sweeps.run gallery                  # Figures 1, 5 and S2: clips, by a fixed rule
python -m sweeps.run report                   # renders tables, claims.md and index.html again
python -m sweeps.run export FILE              # all results as one archive; import takes it
python -m sweeps.run fsck                     # checks every result and cached array
python -m sweeps.run all --storage postgresql://me@host/sweeps --launcher slurm  # docs/queue.md
"""

from __future__ import annotations

import argparse
import signal
import time
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from direct.common import preempt
from direct.common.errors import UserError, command, nearest
from direct.config import Config
from direct.train import trajectory

from .ablations import ABLATIONS
from .cell import STAGES, commit, inputs, read_json, read_result, timed
from .options import base_of, names, options_of, planned_cells, rows_of, workers_of
from .queue import slurm
from .queue.display import Display
from .queue.estimate import Estimator, words
from .queue.status import failures, listing, state_line, summary, told
from .queue.workers import Workers
from .report import gallery
from .results import folder
from .schema import Ablation, Cell, union


def main(arguments: Sequence[str] | None = None) -> int:
    options = options_of(arguments, __doc__)
    base = base_of(options)
    out = Path(options.out)
    root = folder(base.profile, out)
    if options.sweep in ("export", "import", "fsck"):
        return _files(options, base, root, out)
    _no_file(options)
    if options.sweep == "status":
        for table in ABLATIONS.values():
            print(state_line(table, planned_cells(table, base, options), root))
        return 0
    if options.sweep == "report":
        return _report_all(base, options, out, root)
    if options.sweep == "all":
        return _all(base, options, out, root)
    if options.sweep == "search":
        from .report import search_report

        return search_report.main(base, options, out, work)
    if options.sweep not in (*ABLATIONS, "gallery"):
        raise UserError(f"{options.sweep} is not a sweep; {nearest(options.sweep, names())}")
    table = rows_of(ABLATIONS.get(options.sweep, gallery.ABLATION), options)
    planned = planned_cells(table, base, options)
    if options.dry_run:
        print(listing(table, planned, root, workers_of(options, base)))
        return 0
    if options.launcher:
        return slurm.slurm(table, planned, options, root, workers_of(options, base))
    return _run(table, planned, out, base, workers_of(options, base))


def _files(options: argparse.Namespace, base: Config, root: Path, out: Path) -> int:
    """export, import and fsck."""
    from . import archive
    from .queue import study

    if options.sweep == "fsck":
        _no_file(options)
        checked, wrong = archive.fsck(root, out / "cache" / base.profile)
        print("\n".join([*wrong, f"{checked} files checked, {len(wrong)} wrong"]))
        return 1 if wrong else 0
    if options.file is None:
        raise UserError(f"{options.sweep} needs a file; write: {options.sweep} results.tar.gz")
    with study.planner(root):
        if options.sweep == "export":
            print(f"{archive.export(root, base.profile, Path(options.file))} results exported")
        else:
            new, known = archive.take(root, base.profile, Path(options.file))
            print(f"{new} results imported, {known} were here already")
    return 0


def _no_file(options: argparse.Namespace) -> None:
    if options.file is not None:
        raise UserError(f"{options.sweep} takes no file, and got {options.file}")


def _all(base: Config, options: argparse.Namespace, out: Path, root: Path) -> int:
    """Every sweep, as one queue; then every table. A cell that several tables show runs once."""
    workers = workers_of(options, base)
    tables = [
        rows_of(table, options) for table in ABLATIONS.values() if options.extra or not table.extra
    ]
    planned = {table.name: planned_cells(table, base, options) for table in tables}
    once = list({cell.id: cell for cells in planned.values() for cell in cells}.values())
    if options.dry_run:
        print("\n\n".join(listing(t, planned[t.name], root, workers) for t in tables))
        estimator = Estimator(root, {cell.id: cell.config for cell in once})
        print(
            "\nin all, cells that tables share counted once: " + summary(once, estimator, workers)
        )
        return 0
    everything = union(tables)
    if options.launcher:
        return slurm.slurm(everything, once, options, root, workers)
    together = [cell for cell in once if cell.config.measure.kind != "cost"]
    alone = [cell for cell in once if cell.config.measure.kind == "cost"]  # timed by the clock
    failed = work(everything, together, out, base, workers)
    failed |= work(everything, alone, out, base, workers)
    if _elsewhere(once, failed, root):
        return told(failed)
    try:
        _report(gallery.ABLATION, planned_cells(gallery.ABLATION, base, options), out, base.profile)
    except UserError as error:  # a model of Table 1 diverged: the report goes without clips
        print(error)
    _report_all(base, options, out, root, set(planned))
    return told(failed)


def _report_all(
    base: Config, options: argparse.Namespace, out: Path, root: Path, also: Collection[str] = ()
) -> int:
    """The tables that are complete or in `also`; the claims; the page of all.

    Tables share cells, and shared cells alone make no table. A table that was written before and is
    not complete here stays as it is: it came with this repository, or its results are elsewhere.
    """
    from .report import search_report
    from .report.write import report
    from .results import read_all
    from .tables import build

    results, target = read_all(root), out / "reports" / base.profile
    planned = {name: planned_cells(table, base, options) for name, table in ABLATIONS.items()}
    built = {
        name: build(rows_of(ABLATIONS[name], options), cells, results)
        for name, cells in planned.items()
    }
    shown = [
        name
        for name, cells in planned.items()
        if name in also or {cell.id for cell in cells} <= {*results, *failures(cells, root)}
    ]
    kept = [
        name
        for name, table in built.items()
        if name not in shown and (target / f"{table.ablation.file}.md").exists()
    ]
    if not shown:
        print(f"no sweep below {root} is complete; run one first, as: lambda_hard")
        return 0
    whole = bool(also) or not kept
    for path in report(built, shown, target, search_report.again(base, options, out), whole):
        print(path)
    if kept:
        rest = "" if whole else ", and so do claims.md and index.html, which are about all tables"
        print(
            f"not complete here: {', '.join(kept)}; what {target} has of them stays as it "
            f"is{rest} (a report of its own: --out)"
        )
    return 0


# Doing it -----------------------------------------------------------------------------------------


def _run(table: Ablation, planned: list[Cell], out: Path, base: Config, workers: Workers) -> int:
    failed = work(table, planned, out, base, workers)
    if not _elsewhere(planned, failed, folder(base.profile, out)):
        _report(table, planned, out, base.profile)
    return told(failed)


def _elsewhere(planned: list[Cell], failed: dict[str, str], root: Path) -> int:
    """How many cells are still worked on by others: a sweep that was joined may end before them."""
    held = sum(cell.id not in failed and not read_result(root / cell.id) for cell in planned)
    if held:
        print(f"{held} of {len(planned)} cells are in the hands of other workers")
    return held


def work(
    table: Ablation, planned: list[Cell], out: Path, base: Config, workers: Workers
) -> dict[str, str]:
    """Runs the cells that have no result yet. Returns `{cell id: reason}` of those that failed."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: workers stopped
    preempt.listen(signal.SIGUSR1)  # ends with a status that says: run again
    root, cache = folder(base.profile, out), out / "cache" / base.profile
    start = time.monotonic()
    if said := _made_elsewhere(planned, root):
        print(said)
    failed = {} if workers.retry_failed else failures(planned, root)
    todo = [cell for cell in planned if cell.id not in failed]
    if left := [cell for cell in todo if not read_result(root / cell.id)]:
        from .queue import pool, study

        _stands_beside(planned, root)
        with nullcontext() if workers.join else study.planner(root), Display() as display:
            estimator = Estimator(root, {cell.id: cell.config for cell in planned})
            display.say(summary(planned, estimator, workers))
            trajectory.want((cell.config for cell in planned), cache)
            prepared = 0.0 if workers.join else prepare(left, cache, root, workers.count, display)
            before = _stage_seconds(left, root)
            failed |= pool.drain(table, todo, root, cache, workers, display, estimator)
        after = _stage_seconds(left, root)
        spent = {stage: after[stage] - before[stage] for stage in STAGES}
        count = min(workers.count, len(left))
        print(_where_time_went(time.monotonic() - start, prepared, spent, count))
    return failed


def _made_elsewhere(planned: list[Cell], root: Path) -> str | None:
    """Results are kept when the code changes, but never silently."""
    found = [result for cell in planned if (result := read_result(root / cell.id))]
    others = [r for r in found if r["provenance"]["commit"] != commit()]
    if not others:
        return None
    names = ", ".join(sorted({r["provenance"]["commit"] for r in others}))
    return (
        f"{len(others)} of {len(found)} finished cells were made at commit {names}, not at "
        f"{commit()}; they are kept (to make them anew: --out, or remove {root})"
    )


INPUTS = {"weights": "base model", "data": "world or judge"}  # what `cell.inputs` names


def _stands_beside(planned: list[Cell], root: Path) -> None:
    """Refuses to add to results that other weights gave, or another world and judge."""
    for cell in planned:
        if not (result := read_result(root / cell.id)):
            continue
        for what, now in inputs(cell.config).items():
            then = result["provenance"].get(what)
            if then != now:
                raise UserError(
                    f"{root / cell.id} was made with another {INPUTS[what]} ({what} {then}, now "
                    f"{now}); its scores cannot stand beside new ones: give --out, or remove "
                    f"{root}"
                )


def prepare(left: list[Cell], cache: Path, root: Path, workers: int, display: Display) -> float:
    """Builds what cells share, before any worker starts. Returns its seconds.

    Weights of the loss change none of it, except by being zero: such cells are asked about once.
    """
    import torch

    from direct.prepare.shared import prepare as build

    start = time.monotonic()
    shared: dict[Config, Config] = {}
    for cell in left:
        loss = cell.config.loss
        used = replace(
            loss,
            lambda_rand=float(loss.lambda_rand > 0),
            threshold=1.0,
            lambda_hard=float(loss.lambda_hard > 0),
            lambda_anc=0.0,
        )
        shared.setdefault(replace(cell.config, loss=used), cell.config)
    for config in shared.values():
        torch.set_num_threads(config.threads)
        with timed(root, "prepare"):
            build(
                config,
                cache,
                workers=workers,
                progress=lambda stage, done, total: display.update(
                    f"preparing: {stage} {done} of {total}"
                ),
            )
    return time.monotonic() - start


def _stage_seconds(planned: list[Cell], root: Path) -> dict[str, float]:
    timings = [read_json(root / cell.id / "timing.json") or {} for cell in planned]
    return {stage: sum(timing.get(stage, 0.0) for timing in timings) for stage in STAGES}


def _where_time_went(wall: float, prepared: float, spent: dict[str, float], workers: int) -> str:
    """Wall seconds of this run; the stages' are worker seconds divided by the workers."""
    parts = {"prepare": prepared} | {stage: s / workers for stage, s in spent.items()}
    parts["other"] = max(0.0, wall - sum(parts.values()))
    shares = ", ".join(f"{name} {words(s)} ({100 * s / wall:.0f} %)" for name, s in parts.items())
    return f"this run took {words(wall)}: {shares}"


def _report(table: Ablation, planned: list[Cell], out: Path, name: str) -> None:
    from .report.write import render
    from .results import read_all
    from .tables import build

    root, target = folder(name, out), out / "reports" / name
    if table.name == gallery.ABLATION.name:
        known = gallery.read(target)
        paths = gallery.write(gallery.gather(planned, root, out / "cache" / name, known), target)
    else:
        paths = render(build(table, planned, read_all(root)), target)
    for path in paths:
        print(path)


if __name__ == "__main__":
    command(main)
