"""What one training step costs (Table S4): seconds, their parts, and peak memory, by method.

Flow matching alone, SFT (with the anchor), DiReCT, and DiReCT with the reference's velocities read
from the cache take turns, step by step, on one engine, so that whatever else the machine does falls
on all four. Cost depends neither on the weights nor on what the clips show: weights are random, and
the trainer reads stand-ins of the real sizes through its real cache. So nothing has to be
downloaded or prepared, at either scale.

Any engine is measured, in one process. ZeRO-2 (`deepspeed`) and `fsdp` then hold the whole of what
they cut over ranks, and their time has all their own work but what ranks send each other.
"""

from __future__ import annotations

import gc
import json
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..common import ranks
from ..common.errors import UserError
from ..common.files import write_json
from ..common.progress import Progress
from ..config import Config, Run
from ..models import lora, pipeline
from ..prepare.shared import Shared
from ..train import engine, loop
from ..train.batch import load_passes
from ..train.reference_cache import Velocities
from ..train.step import noised, train_step
from . import published
from .standin import check_room, clips, random_transformer

METHODS: dict[str, dict[str, Any]] = {
    "fm": {"lambda_rand": 0.0, "lambda_hard": 0.0, "lambda_anc": 0.0},
    "sft": {"lambda_rand": 0.0, "lambda_hard": 0.0},
    "direct": {},
    "cached": {},  # DiReCT; the reference's velocities are read
}
PARTS = ("data", "forward", "reference", "loss", "backward", "update")
BLOCKS = 12  # a reading is the median of one block of a method's consecutive iterations
WARM_UP = 2


def measure(run: Run) -> list[dict[str, Any]]:
    """One record per block: `{"prompt": "block 01", "caption": "", "scores": {...}}`.

    Scores are named `<method>.<reading>`: seconds_per_iteration and each of PARTS in seconds, the
    median over the block; memory_gb, the same in every block. Writes nothing that stays. A device
    that is too small, and clips that are cut over ranks, are a `UserError`.
    """
    config = run.config
    if (parts := config.train.context_parallel) > 1:
        raise UserError(
            f"train.context_parallel={parts} cuts clips over ranks, and the cost of a step is "
            "measured in one process; set it to 1"
        )
    torch.set_num_threads(config.threads)
    if config.train.engine != "torch":
        ranks.start()
    folder = run.folder / "stand-ins"
    try:
        config = published.in_folder(config, folder)
        parameters = check_room(config)
        data, written = clips(config, folder), folder / "velocities"
        _write(config, data, written)
        _two_steps(config, data)  # what is made once and kept belongs to no method
        two = {
            name: partial(_two_steps, own, data, written if name == "cached" else None)
            for name, own in methods(config).items()
        }
        memory = {name: peak_bytes(steps) / 1e9 for name, steps in two.items()}
        seconds = _interleaved(config, data, written, run.progress)
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"a step of batch {config.train.batch} does not fit this GPU; lower "
            f"train.micro_batch={config.train.micro_batch} or set train.gradient_checkpointing=true"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    write_json(run.folder / "details.json", {"provenance": {"parameters": parameters}})
    return _records(seconds, memory)


def methods(config: Config) -> dict[str, Config]:
    """The configuration of each method: they differ in the loss alone."""
    return {
        name: replace(config, loss=replace(config.loss, **changes))
        for name, changes in METHODS.items()
    }


# What is measured on ------------------------------------------------------------------------------


def _start(config: Config) -> tuple[Any, Any]:
    """The engine, and what makes the reference where this method has an anchor."""
    torch.manual_seed(0)
    running = engine.start(_model(config), config)
    base = partial(_random, config)
    return running, partial(loop.frozen_reference, config, running, base)


def _model(config: Config) -> Any:
    model = _random(config).train().requires_grad_(True)
    if config.train.lora_rank:
        lora.add(model, config)
    return model


def _write(config: Config, data: Shared, folder: Path) -> None:
    """Leaves the reference's velocities of all rounds, as the first cell of a seed does."""
    if not config.loss.lambda_anc:
        return
    running, load = _start(config)
    reference, velocity = Velocities(folder, load), pipeline.velocity(config.model)
    with torch.no_grad(), running.precision():
        for step in range(WARM_UP + config.measure.iterations):
            for batch in load_passes(config, data, step):
                x_t, text = running.inputs(noised(batch, config)[1], batch.text)
                velocity(reference, x_t, batch.t, text)
    reference.flush()
    running.release()


def _random(config: Config) -> Any:
    """Drawn where it is used: a CPU takes seconds for each billion weights."""
    with pipeline.device():
        return random_transformer(config).to(pipeline.device())


# Memory -------------------------------------------------------------------------------------------


def _two_steps(config: Config, data: Shared, written: Path | None = None) -> tuple[Any, Any]:
    """From nothing to the second step, which finds the optimizer's moments in place.

    written: holds the reference's velocities, which are then read.
    """
    running, load = _start(config)
    reference = Velocities(written, load) if written and config.loss.lambda_anc else load()
    for step in range(2):
        train_step(running, reference, load_passes(config, data, step), config)
    running.release()
    return running, reference


def peak_bytes(work: Callable[[], Any]) -> int:
    """The most bytes that tensors made by `work()` held at one time.

    As torch's allocator counts them, on a CPU (where the profiler notes each allocation) as on a
    GPU: not the process's resident set, which holds the libraries and what malloc keeps.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        kept = work()
        del kept
        return torch.cuda.max_memory_allocated() - before
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        kept = work()
    del kept
    with tempfile.TemporaryDirectory() as folder:
        recorded.export_chrome_trace(f"{folder}/trace.json")
        events = json.loads(Path(folder, "trace.json").read_text())["traceEvents"]
    changes = [(e["ts"], e["args"]["Bytes"]) for e in events if e["name"] == "[memory]"]
    held = np.cumsum([change for _, change in sorted(changes, key=lambda change: change[0])])
    return int(held.max())


# Time ---------------------------------------------------------------------------------------------


def _interleaved(
    config: Config, data: Shared, written: Path, progress: Progress
) -> dict[str, list[dict[str, float]]]:
    """Seconds of each part, by method and iteration. No method always follows the same other."""
    running, load = _start(config)
    reference = load()
    own, seconds = methods(config), defaultdict(list)
    references = dict.fromkeys(own, reference) | {"cached": Velocities(written, lambda: reference)}
    rounds = WARM_UP + config.measure.iterations
    for step in range(rounds):
        names = list(own)
        first = step % len(names)
        for name in names[first:] + names[:first]:
            parts = iteration(running, references[name], data, step, own[name])
            if step >= WARM_UP:
                seconds[name].append(parts)
        progress("train", step + 1, rounds)
    return seconds


def iteration(
    running: Any, reference: Any, data: Shared, step: int, config: Config
) -> dict[str, float]:
    """One training step, timed: its seconds, and those of PARTS, which add up to them."""
    watch = Watch()
    start = now()
    with watch.part("data"):
        batches = load_passes(config, data, step)
    anchor = watch.timed(reference, "reference") if config.loss.lambda_anc else None
    train_step(Timed(running, watch), anchor, batches, config)
    total = now() - start
    found = {name: watch.seconds[name] for name in PARTS}
    found["loss"] = total - sum(found.values())  # with x_t, its noise, and what is logged
    return found | {"seconds_per_iteration": total}


class Watch:
    """Seconds by the name of a part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = now()
        yield
        self.seconds[name] += now() - start

    def timed(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        def inner(*arguments: Any, **options: Any) -> Any:
            with self.part(name):
                return call(*arguments, **options)

        return inner


class Timed:
    """An engine whose calls are timed; all else is its own."""

    def __init__(self, running: Any, watch: Watch) -> None:
        self._running, self._forward = running, watch.timed(running, "forward")
        self.backward = watch.timed(running.backward, "backward")
        self.step = watch.timed(running.step, "update")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        return self._forward(*inputs, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._running, name)


def now() -> float:
    """Seconds, once the GPU has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def _records(
    seconds: dict[str, list[dict[str, float]]], memory: dict[str, float]
) -> list[dict[str, Any]]:
    scores: dict[str, np.ndarray] = {}
    for name, iterations in seconds.items():
        blocks = np.array_split(np.arange(len(iterations)), min(BLOCKS, len(iterations)))
        for part in iterations[0]:
            column = np.array([found[part] for found in iterations])
            scores[f"{name}.{part}"] = np.array([np.median(column[rows]) for rows in blocks])
        scores[f"{name}.memory_gb"] = np.full(len(blocks), memory[name])
    return [
        {
            "prompt": f"block {i + 1:02d}",
            "caption": "",
            "scores": {name: float(column[i]) for name, column in sorted(scores.items())},
        }
        for i in range(len(blocks))
    ]
