"""Cells that are points of one training run: the steps they share are trained once.

The learning rate is constant and every draw is a function of (seed, step), so a run of 50 steps is
the first third of the same run of 150, bit for bit. A planner says at which steps several cells
branch off one run (`want`); whoever trains past such a step leaves a checkpoint there (`publish`),
and every other cell of the run starts from the last one that it can use (`seed`). A finished run
leaves its last step (`keep_last`), from which a longer run resumes. In whatever order, the results
are those of training each cell alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from ..common import fingerprint, ranks
from ..common.files import digest, lock, write_folder
from ..config import Config, Run
from ..identity import any_length, canonical, identity
from ..models import pipeline
from .checkpoint import whole

CODE = "direct.train.loop"  # what it imports decides about weights


def name(config: Config) -> str:
    """12 hex digits of all that training depends on, its length apart.

    A run that starts from an SFT run of half its steps is another run for every length.
    """
    config = canonical(config, "training")
    return cell(any_length(config) if config.train.init == "base" else config)


def cell(config: Config) -> str:
    """12 hex digits of a training, of the code that does it, and of the weights it starts from."""
    return digest([identity(config), fingerprint.code(CODE), pipeline.identity(config.model)])


def want(configs: Iterable[Config], cache: Path) -> None:
    """Notes in `cache` the steps at which several of these cells branch off one training run."""
    runs: dict[str, dict[str, int]] = {}
    for config in configs:
        if config.train.steps and config.measure.kind == "scores":
            runs.setdefault(name(config), {})[identity(config)] = config.train.steps
    for run, cells in runs.items():
        folder = _folder(cache, run)
        for step in sorted(cells.values())[:-1]:  # nothing branches off at the last one
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"wanted-{step:08d}").touch()


def wanted(run: Run) -> set[int]:
    """The steps of this cell's training run at which others branch off."""
    marks = _folder(run.cache, name(run.config)).glob("wanted-*")
    return {int(mark.name.removeprefix("wanted-")) for mark in marks}


def publish(run: Run, step: int, save: Callable[..., None]) -> None:
    """Has `save(folder, step)` write the trajectory's checkpoint, unless it is there.

    Every rank calls it.
    """
    folder = _folder(run.cache, name(run.config))
    with lock(folder / ".lock") if ranks.rank() == 0 else nullcontext():
        if not ranks.on_first((folder / f"step-{step:08d}").is_dir):
            save(folder, step, keep=0)


def keep_last(run: Run, save: Callable[..., None]) -> None:
    """Publishes the run's last step, and deletes those that a shorter run has kept before it."""
    publish(run, run.config.train.steps, save)
    if ranks.rank() == 0:
        folder, branches = _folder(run.cache, name(run.config)), wanted(run)
        with lock(folder / ".lock"):
            for path in folder.glob("step-????????"):
                step = int(path.name.removeprefix("step-"))
                if step < run.config.train.steps and step not in branches:
                    shutil.rmtree(path)


def seed(run: Run) -> None:
    """Copies the last whole checkpoint up to `train.steps` to the run's own, where it is newer."""
    folder, checkpoints = _folder(run.cache, name(run.config)), run.folder / "checkpoints"
    own = max((path.name for path in checkpoints.glob("step-????????")), default="")
    limit = f"step-{run.config.train.steps:08d}"
    if not folder.is_dir():
        return
    with lock(folder / ".lock"):
        for path in sorted(folder.glob("step-????????"), reverse=True):
            if not own < path.name <= limit or not whole(path):
                continue
            copy = partial(shutil.copytree, path, dirs_exist_ok=True)
            write_folder(checkpoints / path.name, copy)
            return


def _folder(cache: Path, trajectory: str) -> Path:
    return cache / "trajectory" / trajectory
