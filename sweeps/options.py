"""The command line of `sweeps.run`: its options, and the cells they ask for."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from direct.common.errors import UserError, nearest
from direct.config import Config, Run
from direct.data import source
from direct.profiles import profile
from direct.settings import SHOWN, override, seed_list, with_values

from . import rounds
from .ablations import ABLATIONS
from .experiments import checked_name
from .queue.storage import VARIABLE, checked_url
from .queue.sweep import EACH, Sweep, Workers
from .results import folder
from .schema import METRICS, Ablation, Cell, cells, side_by_side
from .stages import REAL, Stages

VERBS = (
    "all",
    "gallery",
    "search",
    "status",
    "list",
    "report",
    "settings",
    "export",
    "import",
    "fsck",
)
RUNNING = ("all", "gallery", "search")  # the verbs that run cells
SIZE = "evaluate.prompts"  # a table's size, as seeds are: no variant of it
LONGEST = 9  # digits of a count
# How a cell is run, and nothing that comes of it: no variant either
HOW = ("train.checkpoint_every", "train.keep_last", "train.report_to", "train.sample_every")


def options_of(
    arguments: Sequence[str] | None, description: str | None = None
) -> argparse.Namespace:
    """The command line's options; `description` heads its help."""
    parser = argparse.ArgumentParser(
        prog="python -m sweeps.run",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="sweeps: " + "; ".join(f"{a.name} ({a.place})" for a in ABLATIONS.values()),
    )
    add = parser.add_argument
    add(
        "sweep",
        nargs="?",
        default="",
        help=f"a sweep's name, a file of your own (FILE.py, FILE.py:TABLE), or {', '.join(VERBS)}",
    )
    add(
        "file",
        nargs="?",
        help="the archive of export and import; the section of settings; report, gallery: the "
        "experiment",
    )
    add(
        "--grid",
        action="append",
        default=[],
        metavar="A.B=C,D",
        help="a table of these values, without a file; given twice: of all combinations",
    )
    add("--name", help="reports go to reports/<profile>/NAME/ (default, with --set: made from it)")
    add("--profile", default="tiny", help="tiny (default) or wan2.1-t2v-1.3b")
    add("--dry-run", action="store_true", help="list the cells, their state and estimated cost")
    add("--seeds", help="training seeds, as 0,1,2 (default: the sweep's own)")
    add(
        "--until-decided",
        action="store_true",
        help="add seeds in rounds until every contrast is decided or equivalent (docs/coverage.md)",
    )
    add("--max-seeds", help=f"of --until-decided: seeds at most (default: {rounds.MOST})")
    add("--prompts", help="evaluation prompts (default: the sweep's own, or the profile's)")
    add(
        "--workers",
        help="processes (default: cores divided by threads per cell; on Ray, a cell each)",
    )
    add("--gpus-per-cell", help="GPUs that each worker owns; its cells train and generate on all")
    add(
        "--storage",
        help="postgresql://user@host/database instead of a journal file; the password "
        f"belongs in ~/.pgpass (default: ${VARIABLE})",
    )
    add(
        "--launcher",
        choices=["slurm", "ray"],
        help="slurm: write an sbatch array of workers instead of working; ray: work on the Ray "
        "cluster of $RAY_ADDRESS, a task a cell",
    )
    add("--join", action="store_true", help="help a sweep that another process has planned")
    add("--retry-failed", action="store_true", help="also run the cells that failed before")
    add("--accept-old", action="store_true", help="use results that other code made; tables say so")
    add("--rerun", action="store_true", help="make results of other code again")
    add("--out", default=".", help="folder that holds runs/, cache/ and reports/ (default: here)")
    add(
        "--set",
        action="append",
        default=[],
        metavar="A.B=C",
        help="one setting, as loss.lambda_anc=0.3; may be given several times",
    )
    add(
        "--columns",
        help="columns of the LaTeX, as SA,PC,AVG (default: the paper's own, or SA,PC,AVG)",
    )
    add("--paper-rows", action="store_true", help="leave out the reference rows of our own")
    add("--extra", action="store_true", help="all: also the rows beyond the paper (sweep beyond)")
    return _compatible(parser.parse_args(arguments))


def _compatible(options: argparse.Namespace) -> argparse.Namespace:
    if options.grid and options.sweep:
        raise UserError(
            f"--grid makes a table of its own, and got {options.sweep} beside it; leave one out"
        )
    if not options.grid and not options.sweep:
        raise UserError(
            "no sweep is named; give one, as lambda_hard, a file of your own, or --grid "
            "(python -m sweeps lists all)"
        )
    if options.name is not None:
        if options.sweep in VERBS and options.sweep not in RUNNING:
            raise UserError(f"{options.sweep} takes no --name; give it to a sweep that runs")
        checked_name(options.name, "--name", names())
    given = {"seed": "--seeds", **({SIZE: "--prompts"} if options.prompts is not None else {})}
    for name in names_set(options):
        if name in given:
            raise UserError(f"--set {name}: it is what {given[name]} gives; use that alone")
    _check_rounds(options)
    if options.join and options.retry_failed:
        raise UserError(
            "--join and --retry-failed are mutually exclusive: only the planner can requeue "
            "failed cells"
        )
    if options.join and options.rerun:
        raise UserError(
            "--join and --rerun are mutually exclusive: only the planner can remove old results"
        )
    if options.accept_old and options.rerun:
        raise UserError("--accept-old and --rerun are mutually exclusive; give one of them")
    if options.launcher == "slurm" and options.sweep == "search":
        raise UserError(
            "search plans each round from the scores of the one before, so it cannot "
            "run as a SLURM array; run it without --launcher, or with --launcher ray"
        )
    return options


def _check_rounds(options: argparse.Namespace) -> None:
    if not options.until_decided:
        if options.max_seeds is not None:
            raise UserError("--max-seeds bounds --until-decided; give both, or --seeds alone")
        return
    looks_of(options)
    if options.seeds is not None:
        raise UserError(
            "--seeds fixes the seeds, and --until-decided adds them until the table is decided; "
            "give one of them (--max-seeds bounds the second)"
        )
    if options.sweep in VERBS:
        raise UserError(f"{options.sweep} takes no --until-decided; give it to one sweep")
    if options.launcher or options.join:
        other = "--launcher" if options.launcher else "--join"
        raise UserError(
            f"--until-decided plans each round from the scores of the one before, so it takes no "
            f"{other}; leave it out"
        )


def looks_of(options: argparse.Namespace) -> tuple[int, ...]:
    """The planned looks of --until-decided, in seeds."""
    most = _count(options.max_seeds, "--max-seeds") or rounds.MOST
    if not 2 <= most <= rounds.LARGEST:
        raise UserError(f"--max-seeds {most} is no number of seeds; use 2 to {rounds.LARGEST}")
    return rounds.planned(most)


def base_of(options: argparse.Namespace) -> Config:
    """The configuration under every row: the profile's, with `--set` and `--prompts`."""
    count = _count(options.prompts, "--prompts")
    prompts = [] if count is None else [f"evaluate.prompts={count}"]
    config = override(profile(options.profile), *options.set, *prompts)
    return source.pinned(Run(config, Path(options.out) / "cache" / config.profile))


def columns_of(options: argparse.Namespace) -> tuple[str, ...]:
    """What --columns names, for the LaTeX; refused where no table has such a column."""
    found = tuple(part.strip() for part in (options.columns or "").split(",") if part.strip())
    for metric in found:
        if metric not in METRICS:
            raise UserError(f"--columns {metric} is no column; {nearest(metric, METRICS)}")
        if found.count(metric) > 1:
            raise UserError(f"--columns names {metric} twice; leave one out")
    return found


def names() -> list[str]:
    return [*ABLATIONS, *VERBS]


def rows_of(table: Ablation, options: argparse.Namespace) -> Ablation:
    if not options.paper_rows:
        return table
    return replace(table, rows=tuple(row for row in table.rows if not row.reference))


def planned_cells(table: Ablation, base: Config, options: argparse.Namespace) -> list[Cell]:
    """The cells that these options ask for: of the table's own size, unless they give another."""
    base = sized(table, base, options)
    return cells(rows_of(table, options), base, seeds_of(options) or table.seeds)


def sized(table: Ablation, base: Config, options: argparse.Namespace) -> Config:
    """`base` with the table's own number of prompts, unless the options give one."""
    asked = options.prompts is not None or SIZE in names_set(options)
    if asked or base.profile not in table.prompts:
        return base
    return with_values(base, {SIZE: table.prompts[base.profile]})


def names_set(options: argparse.Namespace) -> list[str]:
    """The settings that --set names, each once."""
    return list(dict.fromkeys(text.partition("=")[0].strip() for text in options.set))


def seeds_of(options: argparse.Namespace) -> tuple[int, ...] | None:
    return None if options.seeds is None else seed_list(options.seeds)


def sweep_of(
    table: Ablation,
    planned: list[Cell],
    base: Config,
    options: argparse.Namespace,
    stages: Stages = REAL,
) -> Sweep:
    """The cells, in the folders and by the workers that the options name."""
    out = Path(options.out)
    root, cache = folder(base.profile, out), out / "cache" / base.profile
    workers = workers_of(options, base)
    return Sweep(table, side_by_side(planned, workers.count), root, cache, workers, stages)


def workers_of(options: argparse.Namespace, base: Config) -> Workers:
    gpus = _count(options.gpus_per_cell, "--gpus-per-cell") or 0
    count = _count(options.workers, "--workers")
    if count is None and options.launcher == "ray":
        count = EACH
    elif count is None:
        count = 1 if gpus else max(1, (os.cpu_count() or 1) // base.threads)
    storage = options.storage or os.environ.get(VARIABLE)
    if storage:
        checked_url(storage)
    return Workers(
        count,
        gpus,
        storage,
        options.retry_failed,
        options.join,
        options.accept_old,
        options.rerun,
        options.launcher,
    )


def _count(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    if not text.isdecimal() or len(text) > LONGEST or int(text) < 1:
        raise UserError(
            f"{name} {text[:SHOWN]} is not a positive integer of at most {LONGEST} digits; use 1 "
            "or more"
        )
    return int(text)
