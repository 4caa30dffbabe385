"""What several files of tests need: a kill, and what a training has left on the disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from direct.common.files import load_arrays


class Killed(BaseException):
    """Stands for `kill -9`: nothing in the product catches it."""


def killed_at(*where: tuple[str, int]):
    """Progress that kills at each of these (stage, done), once each."""
    left = list(where)

    def progress(stage: str, done: int, total: int) -> None:
        if left and (stage, done) == left[0]:
            left.pop(0)
            raise Killed

    return progress


def bytes_of(run: Path) -> dict[str, bytes]:
    """What a training leaves: its metrics and its weights."""
    names = ["metrics.jsonl", "transformer/diffusion_pytorch_model.safetensors"]
    return {name: (run / name).read_bytes() for name in names}


def lines_of(run: Path) -> list[dict]:
    """A run's metrics."""
    return [json.loads(line) for line in (run / "metrics.jsonl").open()]


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    """Of every shard below a folder."""
    return {k: v for p in folder.rglob("*.safetensors") for k, v in load_arrays(p).items()}


def numbered_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorBoard's event files are numbered from 0, as in a process of their own.

    It reads those of one second in the order of their names: ".10" comes before ".9".
    """
    writer = pytest.importorskip("tensorboard.summary.writer.event_file_writer")
    monkeypatch.setattr(writer, "_global_uid", writer.AtomicCounter(0))


def board_of(run: Path):
    """A run's TensorBoard event files, as TensorBoard reads them."""
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = events.EventAccumulator(str(run / "tensorboard"))
    found.Reload()
    return found
