"""What is there and what is to do, in words: `status`, `list` and `--dry-run`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from direct.common.text import plain
from direct.config import Config
from direct.profiles import profile

from ..cell import failure_of, read_result
from ..experiments import Experiment
from ..schema import Cell
from . import leases
from .estimate import Estimator, words
from .sweep import Sweep, Workers
from .units import HARD_NEGATIVE_SECONDS, default_rates


def state(cell: Cell, root: Path) -> str:
    run = root / cell.id
    if result := read_result(run):
        return str(result["status"])
    if leases.live(run):
        return "running"
    if reason := failure_of(run):
        return plain(f"failed: {reason}")
    return "begun" if (run / "timing.json").exists() or (run / "checkpoints").exists() else "open"


def failures(planned: list[Cell], root: Path) -> dict[str, str]:
    """`{cell id: reason}` of the cells that failed in an earlier run and have no result since."""
    found = {}
    for cell in planned:
        reason = failure_of(root / cell.id)
        if reason and not read_result(root / cell.id):
            found[cell.id] = reason
    return found


def told(failed: dict[str, str], cells: Iterable[Cell]) -> int:
    """Says which cells failed and why; the exit status."""
    names = {cell.id: f"{cell.row}, seed {cell.config.seed} ({cell.id})" for cell in cells}
    for cell, reason in failed.items():
        print(plain(f"failed: {names[cell]}: {reason} (--retry-failed runs it again)"))
    return 1 if failed else 0


def state_line(experiment: Experiment, root: Path, width: int = 12) -> str:
    """One line: the experiment (`width` columns), its table, how far it is, and what was set."""
    name, table = experiment.name, experiment.table
    line = f"{name:<{width}} {table.place:<16} {_how_far(experiment, root)}"
    return plain(f"{line}; {', '.join(table.changed)}" if table.changed else line)


def entry(experiment: Experiment, root: Path, out: Path) -> str:
    """A paragraph: the experiment, its size and settings, how far it is, where its table lies."""
    table, seeds = experiment.table, ", ".join(map(str, experiment.seeds))
    path = experiment.target(out) / f"{table.file}.md"
    size = f"{len(table.rows)} rows, seeds {seeds}"
    if not table.measured:
        size += f", {experiment.base.evaluate.prompts} prompts"
    lines = [
        f"{experiment.name}: {table.title} ({table.place})",
        f"  size      {size}",
        f"  settings  {', '.join(table.changed) or f'those of profile {experiment.base.profile}'}",
        f"  state     {_how_far(experiment, root)}",
        f"  table     {path if path.exists() else f'not written yet; report {experiment.name}'}",
    ]
    return "\n".join(map(plain, lines))


def _how_far(experiment: Experiment, root: Path) -> str:
    states = [state(cell, root).split(":")[0] for cell in experiment.cells]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    return f"{len(states)} cells: {counts}"


def listing(sweep: Sweep) -> str:
    """What `--dry-run` shows."""
    table, planned, root = sweep.table, sweep.cells, sweep.root
    estimator = Estimator(root, {cell.id: cell.config for cell in planned})
    width = max(30, *(len(cell.row) + 2 for cell in planned))
    lines = [
        f"{table.name} ({table.place}): {table.title}",
        f"{'cell':<14}{'row':<{width}}{'seed':<6}{'cost':<14}state",
    ]
    for cell in planned:
        cost = words(estimator.seconds(cell.config))
        lines.append(
            f"{cell.id:<14}{cell.row:<{width}}{cell.config.seed:<6}{cost:<14}" + state(cell, root)
        )
    lines.append(summary(planned, estimator, sweep.workers))
    return "\n".join(lines + _hard_negatives([cell.config for cell in planned]))


def summary(planned: list[Cell], estimator: Estimator, workers: Workers) -> str:
    """How many cells there are to do, and for how long."""
    left = [cell.id for cell in planned if not read_result(estimator.root / cell.id)]
    known = "recorded timings" if estimator.recorded else _default_words(planned[0].config)
    return (
        f"{len(left)} of {len(planned)} cells to do, about "
        f"{words(estimator.remaining(left, workers.count))} with {workers}, "
        f"by {known}, plus one-time data preparation"
    )


def _default_words(config: Config) -> str:
    train, generate, judge = default_rates(config.profile)
    return f"default ({train:g} s a step, {generate:g} s a clip, {judge:g} s to judge it)"


def _hard_negatives(configs: list[Config]) -> list[str]:
    """The cost of rendering hard negatives where it dwarfs everything else."""
    drawing = [config for config in configs if _draws_hard_negatives(config)]
    if not drawing or drawing[0].profile not in HARD_NEGATIVE_SECONDS:
        return []
    config = drawing[0]
    count = config.data.clips * config.micro.keep
    part = config.hard_sample.steps / profile(config.profile).hard_sample.steps
    hours = count * part * HARD_NEGATIVE_SECONDS[config.profile] / 3600
    return [f"hard negatives: up to {count:,} clips, {hours:,.0f} GPU-hours, rendered once"]


def _draws_hard_negatives(config: Config) -> bool:
    """The cost of a step is measured on random ones; a model that is not trained needs none."""
    if config.measure.kind == "cost" or not config.loss.lambda_hard:
        return False
    return config.train.steps > 0 or config.measure.kind != "scores"
