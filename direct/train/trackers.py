"""Trackers of the user's choice, each by its own library: TensorBoard, Weights & Biases, Trackio.

None is needed to train: the reproducible metrics are `metrics.jsonl`. What a tracker needs to know
(an account, a server, a project) is for its own variables, as WANDB_MODE=offline.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..common.errors import UserError
from ..common.files import digest
from ..config import Config, Run
from ..data.video import gif

PROJECT = "direct"
WIDTH = 320  # pixels of a clip in TensorBoard, at most: it is in the event file itself


class Tracker(NamedTuple):
    """An open run of a tracker."""

    scalars: Callable[[dict[str, float], int], None]  # (values by name, step)
    clip: Callable[[str, Path, np.ndarray, int], None]  # (name, file, uint8 [T, H, W, 3], step)
    close: Callable[[], None]


def check(config: Config) -> None:
    """A `UserError` where the tracker's library is not installed: asked before any work."""
    name = config.train.report_to
    if name == "none":
        return
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:  # no origin: a folder of that name, as wandb leaves
        raise UserError(
            f"train.report_to={name} needs {name}, which is not installed; run: pip install {name}"
        )


def opened(run: Run, start: int) -> Tracker | None:
    """The tracker that train.report_to names. A resumed run goes on after step `start`."""
    make = {"tensorboard": _tensorboard, "wandb": _wandb, "trackio": _trackio}
    name = run.config.train.report_to
    if name == "none":
        return None
    check(run.config)
    try:
        return make[name](run, start)
    except Exception as error:  # of a library that we do not know from inside: no account, no disk
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"train.report_to={name} cannot start ({type(error).__name__}: {reason}); mend that, "
            "or set train.report_to=none"
        ) from error


def _tensorboard(run: Run, start: int) -> Tracker:
    """Event files in the run's folder; those of a run that was cut short end at `start`."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from torch.utils.tensorboard import SummaryWriter

    writer: Any = SummaryWriter(str(run.folder / "tensorboard"), purge_step=start + 1)

    def scalars(values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    def clip(name: str, path: Path, video: np.ndarray, step: int) -> None:
        # As its add_video writes it, which needs moviepy.
        small = video[:, :: (k := -(-video.shape[2] // WIDTH)), ::k]
        image = Summary.Image(
            height=small.shape[1],
            width=small.shape[2],
            colorspace=3,
            encoded_image_string=gif(small, run.config.model.fps),
        )
        value = Summary.Value(tag=name, image=image)
        writer._get_file_writer().add_summary(Summary(value=[value]), step)
        writer.flush()

    return Tracker(scalars, clip, writer.close)


def _wandb(run: Run, start: int) -> Tracker:
    import wandb

    own = wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        name=run.folder.name,
        id=digest([str(run.folder.resolve())]),  # the same when it resumes
        dir=str(run.folder),
        config=dataclasses.asdict(run.config),
        resume="allow",
        reinit="create_new",
    )

    def clip(name: str, path: Path, video: np.ndarray, step: int) -> None:
        own.log({name: wandb.Video(str(path), format=path.suffix[1:])}, step=step)

    return Tracker(lambda values, step: own.log(values, step=step), clip, own.finish)


def _trackio(run: Run, start: int) -> Tracker:
    import trackio

    own = trackio.init(
        project=PROJECT,
        name=f"{run.folder.name}-{digest([str(run.folder.resolve())], 6)}",
        config=dataclasses.asdict(run.config),
        resume="allow",
        embed=False,
    )

    def clip(name: str, path: Path, video: np.ndarray, step: int) -> None:
        own.log({name: trackio.Video(path)}, step=step)

    return Tracker(lambda values, step: own.log(values, step=step), clip, trackio.finish)
