"""What work costs, before it starts; what can be done with what is there; and how it came out.

    python -m direct.plan --profile wan2.1-t2v-1.3b --gpu h100-80g --gpus 8 --cells 5
    python -m direct.plan --cells 3 --points 36    # and 36 tables' rows that sample them again
    python -m direct.plan --cheap                  # and cheaper hard negatives that do the same
    python -m direct.plan --gpus 8 --hours 168 --disk 2000  # which profile, tables and seeds
    python -m direct.plan --compare --out DIR      # measured so far, beside the plan

A plan ends with status 1 where a step does not fit the GPU; with --hours, where nothing of the
paper's scale can be done.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from ..common.errors import UserError, nearest
from ..config import Config
from ..profiles import profile
from ..settings import override
from . import afford, cheap, compare, plan

DEFAULT = "wan2.1-t2v-1.3b"
OF_HOURS = ("profile", "cells", "points", "cheap", "set")  # what `--hours` is the answer to


def main() -> int:
    options = _parser().parse_args()
    if options.gpu not in plan.GPUS:
        raise UserError(f"--gpu {options.gpu} is not known; {nearest(options.gpu, plan.GPUS)}")
    _check_numbers(options)
    share = plan.paper_share() if options.share is None else options.share
    if options.hours is not None:
        return _afford(options, share)
    if options.disk is not None:
        raise UserError("--disk is for --hours; give the hours that you have as well")
    config = override(profile(options.profile or DEFAULT), *options.set)
    if options.compare:
        print(compare.report(config, options.gpu, options.gpus, share, options.out))
        return 0
    gpus = _ranks(config, options.gpus)
    if options.cheap:
        cheap.check(options.cheap)  # refused now, and not after the count
    cells, points = options.cells or 5, options.points or 0
    text, fits = plan.report(config, options.gpu, gpus, share, cells, points)
    print(text)
    if options.cheap:

        def hours(config: Config) -> float:
            found = plan.steps(config, plan.GPUS[options.gpu], gpus, share)
            return next(step.hours or 0.0 for step in found if step.name == "render")

        print(cheap.offer(config, options.cheap, hours))
    return 0 if fits else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m direct.plan",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--profile", help=f"default: {DEFAULT}")
    add("--gpu", default="h100-80g", help=f"one of {', '.join(plan.GPUS)}")
    add(
        "--gpus",
        type=int,
        help="of training (default: 1 with train.engine=torch, else 4); with --hours: all",
    )
    add("--cells", type=int, help="cells that share what is prepared (default: 5)")
    add("--points", type=int, help="evaluations at another guidance or gain (default: 0)")
    add(
        "--cheap",
        nargs="?",
        type=Path,
        const=cheap.REPORT,
        metavar="REPORT",
        help="also the cheapest rendering of hard negatives that this table found equivalent "
        f"(default: {cheap.REPORT})",
    )
    add("--share", type=float, help="of the GPU's peak (default: the paper's, 0.34)")
    add("--set", action="append", default=[], help="a setting, as train.lora_rank=32")
    add("--hours", type=float, help="that --gpus GPUs are there for: what can be done in them?")
    add("--disk", type=float, help="GB that are free, with --hours (default: not looked at)")
    add("--compare", action="store_true", help="what stages took so far, beside the plan")
    add("--out", type=Path, default=Path(), help="of --compare: the folder with cache/ and runs/")
    return parser


def _check_numbers(options: argparse.Namespace) -> None:
    share, cells, points = options.share, options.cells, options.points
    if share is not None and not 0 < share <= 1:
        raise UserError(f"--share {share:g} is no share of the GPU's peak; use above 0, up to 1")
    if cells is not None and cells < 1:
        raise UserError(f"--cells {cells} is no number of cells; use 1 or more")
    if points is not None and points < 0:
        raise UserError(f"--points {points} is no number of evaluations; use 0 or more")
    if options.gpus is not None and not 1 <= options.gpus <= afford.MOST:
        raise UserError(f"--gpus {options.gpus} is no number of GPUs; use 1 to {afford.MOST}")
    for name, unit in (("hours", "hours"), ("disk", "GB")):
        value = getattr(options, name)
        if value is not None and not 0 < value < math.inf:
            raise UserError(f"--{name} {value:g} is no number of {unit}; use one above 0")
    if options.compare and options.hours is not None:
        raise UserError("--compare and --hours are two questions; ask one at a time")


def _afford(options: argparse.Namespace, share: float) -> int:
    if given := [name for name in OF_HOURS if getattr(options, name)]:
        raise UserError(f"--{given[0]} is what --hours answers; leave it out")
    if options.gpus is None:
        raise UserError("--hours needs the number of GPUs that are there; give --gpus as well")
    disk = math.inf if options.disk is None else options.disk * plan.GB
    have = afford.Have(options.gpu, options.gpus, options.hours, disk)
    text, found = afford.answer(have, share)
    print(text)
    return 0 if found else 1


def _ranks(config: Config, given: int | None) -> int:
    together = config.train.context_parallel
    gpus = plan.ranks(config) if given is None else given
    if gpus % together:
        raise UserError(f"--gpus {gpus} is not divided by train.context_parallel={together}")
    if config.train.batch % (gpus // together * (config.train.micro_batch or 1)):
        raise UserError(
            f"--gpus {gpus} with train.micro_batch={config.train.micro_batch} does not divide "
            f"train.batch={config.train.batch}"
        )
    if gpus > 1 and config.train.engine == "torch":
        raise UserError(
            f"--gpus {gpus} needs train.engine=deepspeed or fsdp; the torch engine is for one"
        )
    return gpus
