"""The thin trainer: one loop, for one process here and for DeepSpeed on many GPUs alike.

Data order, times, noise, negatives and dropout are pure functions of (seed, step, global sample),
so every variant with one seed sees the same ones, on however many ranks, and a run resumes bit for
bit from its step. `python -m direct.train --help`, alone or under `torchrun`.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, Any

import torch
from torch import nn

from ..common import manifest, preempt, ranks, spent
from ..common.errors import Diverged, UserError
from ..common.files import canonical_json, lock, write_folder
from ..config import Config, Run
from ..identity import canonical
from ..models import experts, lora, pipeline
from ..plugins import carried
from ..prepare import shared
from . import checkpoint, engine, reference_cache, terms, trackers, trajectory, watch
from .batch import load_passes, own_rows
from .step import train_step

PATIENCE = 3  # non-finite steps in a row that end a run

Save = Callable[..., None]  # (folder, step): publishes folder/step-N
Counters = dict[str, Any]  # of steps that were skipped, and which run they belong to


def train(run: Run) -> Path:
    """Trains one cell: `folder/transformer`, which plain `WanPipeline.from_pretrained` takes.

    Every rank calls it. Resumes from `folder/checkpoints`, or from a shorter run of the same
    settings; returns at once where the result is there. `train.steps == 0` is the base itself:
    nothing is written. Raises `Diverged`, and `preempt.Preempted` on a checkpoint where a stop was
    asked for. With LoRA, `folder/lora` is the adapter as `load_lora_weights` reads it, and
    `folder/transformer` has it merged.
    """
    config, final = run.config, run.folder / "transformer"
    if config.measure.kind != "scores":
        raise UserError(f"measure.kind={config.measure.kind} is a cell of a sweep, not a training")
    if config.train.steps == 0:
        return final
    if config.train.engine != "torch" or "WORLD_SIZE" in os.environ:
        ranks.start()
    with lock(run.folder / ".lock") if ranks.rank() == 0 else nullcontext():
        if not ranks.on_first(final.is_dir):
            _train(run)
        if ranks.rank() == 0:
            shutil.rmtree(run.folder / "checkpoints", ignore_errors=True)
            reference_cache.release(config, run.cache)
    return final


def _train(run: Run) -> None:
    # Set-up: weights, data, engine.
    config, metrics = run.config, run.folder / "metrics.jsonl"
    torch.set_num_threads(config.threads)
    own_rows(config.train)  # what does not divide ends here
    trackers.check(config)
    experts.check(config)
    model = initial_model(run).train()
    data = ranks.after_first(lambda: shared.open_shared(run))
    shown = watch.prompts(run)
    running = engine.start(model, config)

    # Resume: the newest checkpoint's weights, moments, counters and metrics, or a start.
    counters = _resume(run, running, metrics)
    save: Save = partial(
        checkpoint.save,
        model=running.model,
        optimizer=running.optimizer,
        state=counters,
        metrics=metrics,
    )

    # Steps: Eq. 6, until train.steps; what the frozen reference says may be there already.
    steps, folder = shared.steps(config), run.folder / "checkpoints"
    spent.fresh()
    began, start = time.monotonic(), counters["step"]
    branches = ranks.on_first(lambda: trajectory.wanted(run))
    watched = watch.watched(run, start, running, shown)
    anchor = reference_cache.opened(run, data, partial(frozen_reference, config, running))
    log_to = os.devnull if ranks.rank() else metrics
    with watched as tell, open(log_to, "a") as log, anchor as reference:
        left = range(start, steps.stop)
        for step, measured in _updates(config, left, running, reference, data):
            _count_skips(counters, measured)
            log.write(canonical_json({"step": step} | measured) + "\n")
            log.flush()
            tell(step, measured)
            if counters["in_a_row"] == PATIENCE:
                raise Diverged(step, f"{PATIENCE} non-finite steps in a row")
            if step in branches:
                _sync(log)
                trajectory.publish(run, step, save)
            asked = ranks.anyone(preempt.requested())
            due = asked or step % config.train.checkpoint_every == 0
            if due and step < steps.stop:
                _sync(log)
                save(folder, step)
                preempt.check(asked)
            run.progress("train", step - steps.start, len(steps))
        _sync(log)
    _note_seconds(run, steps.stop - start, time.monotonic() - began)

    # Publish: the last checkpoint, from which an export that failed is made again and a longer run
    # resumes; then the weights.
    if config.train.keep_last:
        trajectory.keep_last(run, save)
    else:
        save(folder, steps.stop)
    _export(run, running)


def _updates(
    config: Config, steps: range, running: Any, reference: Any, data: shared.Shared
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Takes the steps: how many are taken by then, and what is logged of the last one."""
    for step in steps:
        with ranks.together():  # one that cannot read its part of the data stops all of them
            batches = load_passes(config, data, step)
        yield step + 1, train_step(running, reference, batches, config)


def initial_model(run: Run) -> nn.Module:
    """The fp32 weights that training starts from; those to be trained require gradients."""
    sft = _sft(run)
    if sft:
        train(sft)
    return _loaded(run.config, _start(run))


def sft_config(config: Config) -> Config:
    """What `train.init == "sft"` starts from: no negatives nor plug-ins' terms, half of the steps.

    What plays no part in it is set back, so that all cells of one seed share one SFT run.
    """
    config = replace(
        config,
        loss=replace(config.loss, lambda_rand=0.0, lambda_hard=0.0),
        train=replace(config.train, init="base", steps=config.train.steps // 2),
        measure=replace(config.measure, kind="scores"),
        plugins=carried.used(config, terms=False),
    )
    return canonical(config, "training")


def _sft(run: Run) -> Run | None:
    """The run that this one starts from; None where that is the base."""
    if run.config.train.init == "base" or not run.config.train.steps // 2:
        return None
    config = sft_config(run.config)
    return replace(run, config=config, folder=run.cache / "runs" / trajectory.cell(config))


def _start(run: Run) -> str | Path:
    """Whose weights training starts from: the base pipeline's, or those of the shared SFT run."""
    sft = _sft(run)
    return sft.folder / "transformer" if sft else run.config.model.pipeline


def _loaded(config: Config, start: str | Path) -> nn.Module:
    """On the CPU: an engine moves it, in its own precision."""
    model = pipeline.load_transformer(start, on="cpu", expert=config.train.expert)
    model.requires_grad_(True)
    if config.train.lora_rank:
        lora.add(model, config)
    return model


def frozen_reference(
    config: Config, running: Any, load: Callable[[], nn.Module] | None = None
) -> Any:
    """The frozen base that the anchor holds on to (Eq. 5), in the precision of the trained one.

    None where neither the anchor nor a plug-in's term is about it.

    load: makes the base, where it is not the pipeline's own.
    """
    if not terms.need_reference(config):
        return None
    if config.train.lora_rank:
        return lora.reference(running.model)
    own = partial(pipeline.load_transformer, on="cpu", expert=config.train.expert)
    base = load() if load else own(config.model.pipeline)
    base = engine.frozen(base, running.dtype, config)
    if config.train.compile:
        base.compile()
    return base


def _resume(run: Run, running: Any, metrics: Path) -> Counters:
    """The counters of the newest checkpoint, its weights in place; those of a start without one."""
    name = trajectory.name(run.config)
    ranks.on_first(lambda: trajectory.seed(run))
    folder = run.folder / "checkpoints"
    state = checkpoint.restore(folder, running.model, running.optimizer, metrics, name)
    if state is None:
        ranks.on_first(lambda: metrics.write_text(""))
        state = {"step": shared.steps(run.config).start, "skipped": 0, "in_a_row": 0, "run": name}
    return state


def _sync(log: IO[str]) -> None:
    if ranks.rank() == 0:
        os.fsync(log.fileno())


def _note_seconds(run: Run, steps: int, seconds: float) -> None:
    """Apart from the metrics: a wall time is no part of a result."""
    if ranks.rank() == 0:
        with open(run.folder / "timing.jsonl", "a") as log:
            line = {"steps": steps, "seconds": round(seconds, 3)} | spent.usage(ranks.size())
            log.write(canonical_json(line) + "\n")


def _export(run: Run, running: Any) -> None:
    """Publishes the trained fp32 weights on rank 0; those of an adapter merged, and by themselves.

    ZeRO's own weights are rounded to bf16, and FSDP's are cut: the masters, gathered one after
    another in main memory, are put into the start's fp32 weights.
    """
    config, model = run.config, running.model
    if config.train.engine != "torch":
        trained = engine.masters(model, running.optimizer)
        if config.train.engine == "deepspeed":
            running.release()
        if ranks.rank() == 0:
            model = _loaded(config, _start(run))  # alone: no collective call
            model.load_state_dict(trained, strict=False, assign=True)

    def write() -> None:
        if config.train.lora_rank:
            adapter = run.folder / "lora"
            shutil.rmtree(adapter, ignore_errors=True)  # of a run that ended before the rest
            write_folder(adapter, lambda temporary: lora.save_adapter(model, temporary))
            lora.merge(model)
        write_folder(run.folder / "transformer", lambda temporary: _save(model, temporary))

    ranks.on_first(write)


def _save(model: Any, folder: Path) -> None:
    model.save_pretrained(folder, safe_serialization=True)
    manifest.write_manifest(folder)


def _count_skips(state: dict[str, Any], measured: dict[str, Any]) -> None:
    state["skipped"] += measured["skipped"]
    state["in_a_row"] = state["in_a_row"] + 1 if measured["skipped"] else 0
