"""Cells that are points of one training run: the steps they share are trained once.

The learning rate is constant and every draw is a function of (seed, step), so a run of 50 steps is
the first third of the same run of 150, bit for bit. A planner says at which steps several cells
branch off one run (`want`); whoever trains past such a step leaves a checkpoint there (`publish`),
and every other cell of the run starts from the last one that it can use (`seed`). In whatever
order, the results are those of training each cell alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

from ..common.files import write_folder
from ..config import Config, Evaluate, Measure, Sampling, identity


def name(config: Config) -> str:
    """12 hex digits of all that training depends on, its length apart.

    A run that starts from an SFT run of half its steps is another run for every length.
    """
    steps = config.train.steps if config.train.init == "sft" else 0
    train = replace(config.train, steps=steps, checkpoint_every=1)
    return identity(
        replace(config, train=train, sample=Sampling(), evaluate=Evaluate(), measure=Measure())
    )


def want(configs: Iterable[Config], cache: Path) -> None:
    """Notes in `cache` the steps at which several of these cells branch off one training run."""
    runs: dict[str, dict[str, int]] = {}
    for config in configs:
        if config.train.steps and config.measure.kind == "scores":
            runs.setdefault(name(config), {})[identity(config)] = config.train.steps
    for run, cells in runs.items():
        folder = _folder(cache, run)
        for step in sorted(cells.values())[:-1]:  # from the last point nothing goes on
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"wanted-{step:08d}").touch()


def wanted(config: Config, cache: Path) -> set[int]:
    """The steps of this cell's training run at which others branch off."""
    marks = _folder(cache, name(config)).glob("wanted-*")
    return {int(mark.name.removeprefix("wanted-")) for mark in marks}


def publish(config: Config, step: int, cache: Path, save: Callable[[Path], None]) -> None:
    """Has `save(folder)` write the run's checkpoint `folder/step-N`, unless it is there."""
    from ..common.files import lock

    folder = _folder(cache, name(config))
    with lock(folder / ".lock"):
        if not (folder / f"step-{step:08d}").is_dir():
            save(folder)


def seed(config: Config, cache: Path, checkpoints: Path) -> None:
    """Copies the run's last whole checkpoint up to `train.steps` to a cell's own, where newer."""
    from ..common.files import lock
    from .checkpoint import whole

    folder = _folder(cache, name(config))
    own = max((path.name for path in checkpoints.glob("step-????????")), default="")
    limit = f"step-{config.train.steps:08d}"
    if not folder.is_dir():
        return
    with lock(folder / ".lock"):
        for path in sorted(folder.glob("step-????????"), reverse=True):
            if not own < path.name <= limit or not whole(path):
                continue
            copy = partial(shutil.copytree, path, dirs_exist_ok=True)
            write_folder(checkpoints / path.name, copy)
            return


def _folder(cache: Path, run: str) -> Path:
    return Path(cache) / "trajectory" / run
