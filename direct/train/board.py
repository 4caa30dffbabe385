"""Live metrics for TensorBoard: the loss's terms, telemetry, norms, throughput and memory.

Apart from `metrics.jsonl`, which holds what is reproducible. Other trackers read the same events
through their own libraries, as `wandb.init(sync_tensorboard=True)` does.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

GROUPS = {
    "loss": "loss",
    "d": "distance",
    "a": "alignment",
    "grad": "gradient",
    "contrasted": "contrast",
    "skipped": "gradient",
    "term": "plugins",
}


def open_board(folder: Path, start: int, batch: int, clip: float) -> Callable[..., None]:
    """board(step, measured): writes one step's metrics; without TensorBoard it does nothing.

    Adds the share of steps so far whose gradient was clipped, samples per second, and the peak of
    memory in GiB. A resumed run's events after `start` replace those of the run that was cut short.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        print("no TensorBoard (pip install tensorboard): live metrics are off", file=sys.stderr)
        return lambda step, measured: None
    writer = SummaryWriter(str(folder), purge_step=start + 1)
    seen = {"steps": 0, "clipped": 0, "time": time.monotonic()}

    def board(step: int, measured: dict[str, Any]) -> None:
        now = time.monotonic()
        norm = measured["grad_norm"]
        seen["steps"] += 1
        seen["clipped"] += norm is not None and norm > clip
        values = {f"{GROUPS[name.split('_')[0]]}/{name}": value for name, value in measured.items()}
        values["gradient/clip_share"] = seen["clipped"] / seen["steps"]
        values["speed/samples_per_second"] = batch / max(now - seen["time"], 1e-9)
        values["speed/memory_gib"] = _memory() / 2**30
        seen["time"] = now
        for name, value in values.items():
            if value is not None:
                writer.add_scalar(name, float(value), step)
        writer.flush()

    return board


def _memory() -> int:
    """Peak bytes: of tensors on this process's GPU, or of the process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
