"""Runs an ablation of the paper and writes its table; what is done already is not done again.

    python -m sweeps.run lambda_hard              # Table S3 on the tiny profile
    python -m sweeps.run lambda_hard --dry-run    # its cells, their state and cost
    python -m sweeps.run status                   # every sweep
    python -m sweeps.run report                   # renders every table that has results
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from direct.config import Config, override, profile
from direct.errors import UserError, command, nearest

from .ablations import ABLATIONS, Ablation, Cell, cells
from .cell import STAGES, commit, read_json, read_result, timed
from .estimate import DEFAULTS, HARD_NEGATIVE_SECONDS, Estimator, words
from .progress import Display
from .results import folder

VERBS = ("status", "report")


def main(arguments: Sequence[str] | None = None) -> int:
    options = options_of(arguments)
    base = base_of(options)
    out = Path(options.out)
    root = folder(base.profile, out)
    if options.sweep in VERBS:
        for table in ABLATIONS.values():
            planned = planned_cells(table, base, options)
            if options.sweep == "status":
                print(_state_line(table, planned, root))
            elif _has_report(table, planned, root, out / "reports" / base.profile):
                _report(table, planned, out, base.profile)
        return 0
    if options.sweep not in ABLATIONS:
        raise UserError(f"{options.sweep} is not a sweep; {nearest(options.sweep, _names())}")
    table = _rows(ABLATIONS[options.sweep], options)
    planned = planned_cells(table, base, options)
    if options.dry_run:
        print(_listing(table, planned, root, _workers(options, base)))
        return 0
    return _run(table, planned, out, base, _workers(options, base))


def _has_report(table: Ablation, planned: list[Cell], root: Path, folder: Path) -> bool:
    """Written before, or complete: tables share cells, and one shared cell makes no table."""
    if (folder / f"{table.file}.md").exists():
        return True
    return all((root / cell.id / "result.json").exists() for cell in planned)


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(
        prog="python -m sweeps.run", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="sweeps: " + "; ".join(f"{a.name} (Table {a.table})" for a in ABLATIONS.values()),
    )
    add = parser.add_argument
    add("sweep", help="a sweep's name, or status, or report")
    add("--profile", default="tiny", help="tiny (default) or wan2.1-t2v-1.3b")
    add("--dry-run", action="store_true", help="list the cells, their state and estimated cost")
    add("--seeds", help="training seeds, as 0,1,2 (default: the sweep's own)")
    add("--prompts", help="evaluation prompts (default: the profile's)")
    add("--workers", help="processes (default: cores divided by threads per cell)")
    add("--out", default=".", help="folder that holds runs/, cache/ and reports/ (default: here)")
    add("--set", action="append", default=[], metavar="A.B=C",
        help="one setting, as loss.lambda_anc=0.3; may be given several times")
    add("--paper-rows", action="store_true", help="leave out the reference rows of our own")
    return parser.parse_args(arguments)


def base_of(options: argparse.Namespace) -> Config:
    """The configuration under every row: the profile's, with `--set` and `--prompts`."""
    prompts = [] if options.prompts is None else [f"evaluate.prompts={options.prompts}"]
    return override(profile(options.profile), *options.set, *prompts)


def _names() -> list[str]:
    return [*ABLATIONS, *VERBS]


def _rows(table: Ablation, options: argparse.Namespace) -> Ablation:
    if not options.paper_rows:
        return table
    return replace(table, rows=tuple(row for row in table.rows if not row.reference))


def planned_cells(table: Ablation, base: Config, options: argparse.Namespace) -> list[Cell]:
    """The cells that these options ask for."""
    return cells(_rows(table, options), base, _seeds(options.seeds) or table.seeds)


def _seeds(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        seeds = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"--seeds {text} is not a list of whole numbers; write 0,1,2") from None
    if len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise UserError(f"--seeds {text} repeats a seed or has a negative one; write 0,1,2")
    return seeds


def _workers(options: argparse.Namespace, base: Config) -> int:
    if options.workers is None:
        return max(1, (os.cpu_count() or 1) // base.threads)
    if not options.workers.isdecimal() or int(options.workers) < 1:
        raise UserError(f"--workers {options.workers} is not a number of processes; use 1 or more")
    return int(options.workers)


# What is there ------------------------------------------------------------------------------------


def _state(cell: Cell, root: Path) -> str:
    from .study import lease_is_live

    run = root / cell.id
    if result := read_result(run):
        return str(result["status"])
    if lease_is_live(run):
        return "running"
    if failure := read_json(run / "failure.json"):
        return f"failed: {failure['reason']}"
    return "begun" if (run / "timing.json").exists() or (run / "checkpoints").exists() else "open"


def _state_line(table: Ablation, planned: list[Cell], root: Path) -> str:
    states = [_state(cell, root).split(":")[0] for cell in planned]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    return f"{table.name:<12} Table {table.table:<3} {len(planned)} cells: {counts}"


def _listing(table: Ablation, planned: list[Cell], root: Path, workers: int) -> str:
    estimator = Estimator(root, {cell.id: cell.config for cell in planned})
    lines = [f"{table.name} (Table {table.table}): {table.title}",
             f"{'cell':<14}{'row':<30}{'seed':<6}{'cost':<14}state"]
    for cell in planned:
        cost = words(estimator.seconds(cell.config))
        seed = str(cell.config.seed) if cell.config.train.steps else "any"
        lines.append(f"{cell.id:<14}{cell.row:<30}{seed:<6}{cost:<14}{_state(cell, root)}")
    left = [cell.id for cell in planned if not read_result(root / cell.id)]
    known = "recorded timings" if estimator.recorded else _default_words(planned[0].config)
    lines.append(f"{len(left)} of {len(planned)} cells to do, about "
                 f"{words(estimator.remaining(left, workers))} with {workers} "
                 f"worker{'s' if workers > 1 else ''}, by {known}, shared preparation apart")
    return "\n".join(lines + _hard_negatives(planned[0].config))


def _default_words(config: Config) -> str:
    train, generate, judge = DEFAULTS[config.profile]
    return f"default ({train:g} s a step, {generate:g} s a clip, {judge:g} s to judge it)"


def _hard_negatives(config: Config) -> list[str]:
    """The cost of rendering hard negatives where it dwarfs everything else."""
    if config.profile not in HARD_NEGATIVE_SECONDS:
        return []
    count = config.data.clips * config.micro.keep
    hours = count * HARD_NEGATIVE_SECONDS[config.profile] / 3600
    return [f"hard negatives: up to {count:,} clips, {hours:,.0f} GPU-hours, rendered once"]


# Doing it -----------------------------------------------------------------------------------------


def _run(table: Ablation, planned: list[Cell], out: Path, base: Config, workers: int) -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: workers stopped
    root, cache = folder(base.profile, out), out / "cache" / base.profile
    start = time.monotonic()
    failed: dict[str, str] = {}
    if said := _made_elsewhere(planned, root):
        print(said)
    if left := [cell for cell in planned if not read_result(root / cell.id)]:
        from . import pool, study

        with study.planner(root), Display() as display:
            display.say(_listing(table, planned, root, workers).splitlines()[-1])
            prepared = prepare(left, cache, root, workers, display)
            before = _stage_seconds(left, root)
            estimator = Estimator(root, {cell.id: cell.config for cell in planned})
            failed = pool.drain(table, planned, root, cache, workers, display, estimator)
        after = _stage_seconds(left, root)
        spent = {stage: after[stage] - before[stage] for stage in STAGES}
        print(_where_time_went(time.monotonic() - start, prepared, spent, min(workers, len(left))))
    _report(table, planned, out, base.profile)
    for cell, reason in failed.items():
        print(f"failed: {cell}: {reason}")
    return 1 if failed else 0


def _made_elsewhere(planned: list[Cell], root: Path) -> str | None:
    """Results are kept when the code changes, but never silently."""
    found = [result for cell in planned if (result := read_result(root / cell.id))]
    others = [r for r in found if r["provenance"]["commit"] != commit()]
    if not others:
        return None
    names = ", ".join(sorted({r["provenance"]["commit"] for r in others}))
    return (f"{len(others)} of {len(found)} finished cells were made at commit {names}, not at "
            f"{commit()}; they are kept (to make them anew: --out, or remove {root})")


def prepare(left: list[Cell], cache: Path, root: Path, workers: int, display: Display) -> float:
    """Builds what cells share, before any worker starts. Returns its seconds.

    Weights of the loss change none of it, except by being zero: such cells are asked about once.
    """
    import torch

    from direct.prepare import prepare as build

    start = time.monotonic()
    shared: dict[Config, Config] = {}
    for cell in left:
        loss = cell.config.loss
        used = replace(loss, lambda_rand=float(loss.lambda_rand > 0), threshold=1.0,
                       lambda_hard=float(loss.lambda_hard > 0), lambda_anc=0.0)
        shared.setdefault(replace(cell.config, loss=used), cell.config)
    for config in shared.values():
        torch.set_num_threads(config.threads)
        with timed(root, "prepare"):
            build(config, cache, workers=workers, progress=lambda stage, done, total:
                  display.update(f"preparing: {stage} {done} of {total}"))
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
    from .tables import render

    for path in render(table, planned, folder(name, out), out / "reports" / name):
        print(path)


if __name__ == "__main__":
    command(main)
