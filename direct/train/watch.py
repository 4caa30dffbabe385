"""Watching a training: its metrics in a tracker, and clips of fixed prompts at given steps.

It changes no bit of the training: draws are functions of the step, torch's own generator is put
back, and so is the model.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from ..common import ranks
from ..config import Run
from ..data import captions, source
from ..data.video import write_gif, write_video
from ..models import clip, experts
from ..prepare import encode, means
from . import trackers
from .trackers import Tracker

SHOWN = 2  # prompts
GROUPS = {
    "loss": "loss",
    "d": "distance",
    "a": "alignment",
    "grad": "gradient",
    "contrasted": "contrast",
    "skipped": "gradient",
    "term": "plugins",
}

Tell = Callable[[int, dict[str, Any]], None]  # (step, what metrics.jsonl gets)


@dataclass(frozen=True)
class Prompts:
    """What the clips are made from: with the noise of the evaluation, and its gain."""

    names: list[str]
    text: list[Tensor]  # of each prompt and of the negative prompt, [2, L, D]
    x_ref: list[Tensor | None]  # [1, C, T, H, W]


def prompts(run: Run) -> Prompts | None:
    """Encodes what clips are made from, where there are to be clips; every rank calls it."""
    config = run.config
    if not config.train.sample_every:
        return None
    chosen = source.evaluation(config)[:SHOWN]
    texts = captions.prompts(config, [item.prompt for item in chosen])
    negative = config.sample.negative_prompt
    text = ranks.after_first(lambda: encode.texts(run, [*texts, negative]))
    own = ranks.after_first(lambda: means.references(run, texts))
    encode.release()
    x_ref = [None if own is None else own[i % len(own)][None] for i in range(len(texts))]
    return Prompts([item.id for item in chosen], [text([x, negative]) for x in texts], x_ref)


@contextmanager
def watched(run: Run, start: int, running: Any, shown: Prompts | None) -> Iterator[Tell]:
    """tell(step, measured), after each step. Rank 0 alone tells; for clips it needs all ranks."""
    tracker = None if ranks.rank() else trackers.opened(run, start)
    values = _values(run) if tracker else None

    def tell(step: int, measured: dict[str, Any]) -> None:
        if tracker and values:
            tracker.scalars(values(measured), step)
        if shown and step % run.config.train.sample_every == 0:
            _show(run, step, running, shown, tracker)

    try:
        yield tell
    finally:
        if tracker:
            tracker.close()


def _values(run: Run) -> Callable[[dict[str, Any]], dict[str, float]]:
    """What a tracker is told of a step: the metrics, grouped; nulls are left out.

    And the share of steps so far whose gradient was clipped, samples per second, and the peak of
    memory in GiB, none of which is reproducible over a resume.
    """
    settings = run.config.train
    seen = {"steps": 0, "clipped": 0, "time": time.monotonic()}

    def values(measured: dict[str, Any]) -> dict[str, float]:
        now, norm = time.monotonic(), measured["grad_norm"]
        seen["steps"] += 1
        seen["clipped"] += norm is not None and norm > settings.clip
        found = {
            f"{GROUPS[name.split('_')[0]]}/{name}": float(value)
            for name, value in measured.items()
            if value is not None
        }
        found["gradient/clip_share"] = seen["clipped"] / seen["steps"]
        found["speed/samples_per_second"] = settings.batch / max(now - seen["time"], 1e-9)
        found["speed/memory_gib"] = _memory() / 2**30
        seen["time"] = now
        return found

    return values


def _memory() -> int:
    """Peak bytes: of tensors on this process's GPU, or of the process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _show(run: Run, step: int, running: Any, shown: Prompts, tracker: Tracker | None) -> None:
    """`samples/step-N-<k>.mp4` of each prompt; a GIF where PyAV is not installed.

    Every rank makes the latents, since the weights may be cut over them.
    """
    config = run.config
    even = not (config.model.height % 2 or config.model.width % 2)
    suffix, write = (".mp4", write_video) if find_spec("av") and even else (".gif", write_gif)
    for k, (name, text, x_ref) in enumerate(
        zip(shown.names, shown.text, shown.x_ref, strict=True), 1
    ):
        with torch.random.fork_rng(_devices()):  # loading weights draws from it
            with _evaluating(running):
                shown_by = experts.whole(config, running.model)
                z = clip.latents(config, shown_by, text, name, config.seed, x_ref)
                del shown_by  # with it the other expert, before the VAE comes
            if ranks.rank():
                continue
            video = clip.decoded(config.model, z)
        path = run.folder / "samples" / f"step-{step:08d}-{k}{suffix}"
        write(path, video, config.model.fps)
        if tracker:
            tracker.clip(f"samples/{k}", path, video, step)


def _devices() -> list[int]:
    """This process's own GPU, among those that it sees."""
    return [torch.cuda.current_device()] if torch.cuda.is_available() else []


@contextmanager
def _evaluating(running: Any) -> Iterator[None]:
    """Without compiling: for other shapes the training's own kernels would be compiled again."""
    running.model.eval()
    try:
        with running.precision(), torch.compiler.set_stance("force_eager"):
            yield
    finally:
        running.model.train()
