"""The thin trainer: one step function, for one process here and for DeepSpeed on many GPUs alike.

Data order, times, noise, negatives and dropout are pure functions of (seed, step, global sample),
so every variant with one seed sees the same ones, on however many ranks, and a run resumes bit for
bit from its step. `python -m direct.train --help`, alone or under `torchrun`.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from direct import velocity_loss

from . import (
    board,
    checkpoint,
    engine,
    flow,
    lora,
    models,
    noise,
    preempt,
    prepare,
    ranks,
    trajectory,
)
from .batch import Batch, load_passes
from .config import Config, Evaluate, Macro, Measure, Micro, Sample, identity
from .data.cache import lock
from .engine import Engine
from .errors import UserError
from .files import canonical_json, digest, write_folder
from .progress import Progress

__all__ = ["Diverged", "Engine", "sft_config", "step", "train"]

PATIENCE = 3  # non-finite steps in a row that end a run


class Diverged(RuntimeError):
    """Training met `PATIENCE` non-finite steps in a row. A result of the cell, not a failure."""

    def __init__(self, step: int, reason: str) -> None:
        super().__init__(f"diverged at step {step}: {reason}")
        self.step, self.reason = step, reason


def step(
    running: Any, reference: Any, batches: Batch | Sequence[Batch], config: Config
) -> dict[str, Any]:
    """One update by Eq. 6 from this rank's micro-batches; returns what is logged of the whole.

    running: an engine of `direct.engine`; reference: the frozen base, or `None`; both are called
    as the transformer is.
    """
    batches = [batches] if isinstance(batches, Batch) else batches
    rows = [_pass(running, reference, batch, config) for batch in batches]
    running.step()
    return _measured(ranks.gather(torch.cat(rows)), running.norm())


def _pass(running: Any, reference: Any, batch: Batch, config: Config) -> Tensor:
    """Forward and backward; [B, 11] fp32: 4 distances, 2 alignments, 4 weights, the loss."""
    loss, velocity = config.loss, models.velocity(config.model)
    if loss.regenerate_noise:
        eps, x_t = None, noise.interpolate(batch.x, batch.key, batch.t)
    else:
        eps = noise.normal(batch.key, batch.x.shape, device=batch.x.device)
        x_t = flow.interpolate(batch.x, eps, batch.t)
    x_t, text = running.inputs(x_t, batch.text)
    with running.precision():
        v_ref = None
        if reference is not None:  # Eq. 5; before v, whose activations are then not yet held
            with torch.no_grad():
                v_ref = velocity(reference, x_t, batch.t, text)
        v = velocity(running, x_t, batch.t, text)
    out = velocity_loss(
        v,
        _like(v, batch.x),
        _like(v, eps),
        rand_latents=_like(v, batch.x_rand),
        rand_noise=_like(v, batch.eps_rand),
        hard_latents=_like(v, batch.x_hard),
        reference=_like(v, v_ref),
        negative_noise=loss.negative_noise,
        noise_key=batch.key,
        lambda_rand=loss.lambda_rand,
        lambda_hard=loss.lambda_hard,
        lambda_anc=loss.lambda_anc,
        weight=batch.weight,
        threshold=loss.threshold,
        backend=loss.backend,
    )
    running.backward(out.guarded())  # what the loss's mask hides, the engine's guard must see
    total = out.loss.detach().expand(len(batch.weight), 1)
    return torch.cat([out.distances, out.alignment, batch.weight, total], 1)


def train(config: Config, *, cache: Path, run: Path, progress: Progress | None = None) -> Path:
    """Trains one cell: `run/transformer`, which plain `WanPipeline.from_pretrained` takes.

    Every rank calls it. Resumes from `run/checkpoints`; returns at once where the result is there.
    `train.steps == 0` is the base itself: nothing is written. Raises `Diverged`, and
    `preempt.Preempted` on a checkpoint where a stop was asked for. With LoRA, `run/lora` is the
    adapter as `load_lora_weights` reads it, and `run/transformer` has it merged.
    """
    if config.measure.kind != "scores":
        raise UserError(f"measure.kind={config.measure.kind} is a cell of a sweep, not a training")
    run = Path(run)
    final = run / "transformer"
    if config.train.steps == 0:
        return final
    if config.train.engine == "deepspeed" or "WORLD_SIZE" in os.environ:
        ranks.start()
    with lock(run / ".lock") if ranks.rank() == 0 else nullcontext():
        if not ranks.on_first(final.is_dir):
            _train(config, Path(cache), run, progress)
        if ranks.rank() == 0:
            shutil.rmtree(run / "checkpoints", ignore_errors=True)  # also what a kill here left
    return final


def sft_config(config: Config) -> Config:
    """The SFT cell that `train.init == "sft"` starts from: no negatives, first half of the steps.

    What plays no part in it is set back, so that all cells of one seed share one SFT run.
    """
    return replace(
        config,
        loss=replace(config.loss, lambda_rand=0.0, lambda_hard=0.0, negative_noise="sampled"),
        train=replace(config.train, init="base", steps=config.train.steps // 2),
        macro=Macro(),
        micro=Micro(),
        sample=Sample(),
        hard_sample=Sample(),
        evaluate=Evaluate(),
        measure=Measure(),
    )


def _train(config: Config, cache: Path, run: Path, progress: Progress | None) -> None:
    torch.set_num_threads(config.threads)
    ranks.share(config.train.batch, config.train.micro_batch)  # what does not divide ends here
    model = initial_model(config, cache, progress).train()
    data = _data(config, cache, progress)
    running = engine.start(model, config)
    reference = frozen_reference(config, running)
    folder, metrics, first = run / "checkpoints", run / "metrics.jsonl", ranks.rank() == 0
    steps, state = prepare.steps(config), _resume(config, cache, folder, metrics, running)
    branches = trajectory.wanted(config, cache) if ranks.size() == 1 else set()
    save = partial(
        checkpoint.save,
        model=running.model,
        optimizer=running.optimizer,
        state=state,
        metrics=metrics,
    )
    live = _live(config, run, state["step"])
    began, start = time.monotonic(), state["step"]
    with open(metrics if first else os.devnull, "a") as log:
        for current in range(start, steps.stop):
            with ranks.together():  # one that cannot read its part of the data stops all of them
                batches = load_passes(config, data, current)
            measured = step(running, reference, batches, config)
            _count_skips(state, measured)
            log.write(canonical_json({"step": current + 1} | measured) + "\n")
            log.flush()
            live(current + 1, measured)
            if state["in_a_row"] == PATIENCE:
                raise Diverged(current + 1, f"{PATIENCE} non-finite steps in a row")
            if current + 1 in branches:
                os.fsync(log.fileno())
                trajectory.publish(
                    config, current + 1, cache, partial(save, step=current + 1, keep=0)
                )
            asked = ranks.anyone(preempt.requested())
            due = asked or (current + 1) % config.train.checkpoint_every == 0
            if due and current + 1 < steps.stop:
                if first:
                    os.fsync(log.fileno())
                save(folder, current + 1)
                preempt.check(asked)
            if progress:
                progress("train", current + 1 - steps.start, len(steps))
        if first:
            os.fsync(log.fileno())
    if first:  # apart: a wall time is not part of a result
        with open(run / "timing.jsonl", "a") as log:
            seconds = round(time.monotonic() - began, 3)
            log.write(canonical_json({"steps": steps.stop - start, "seconds": seconds}) + "\n")
    _export(config, cache, run, running)


def initial_model(config: Config, cache: Path, progress: Progress | None) -> nn.Module:
    """The fp32 weights that training starts from; those to be trained require gradients."""
    start = _start(config, cache)
    if start != config.model.pipeline:
        train(sft_config(config), cache=cache, run=Path(start).parent, progress=progress)
    return _loaded(config, start)


def _start(config: Config, cache: Path) -> str:
    """Whose weights training starts from: the base pipeline's, or those of the shared SFT run."""
    if config.train.init == "sft" and config.train.steps // 2:
        return str(cache / "runs" / identity(sft_config(config)) / "transformer")
    return config.model.pipeline


def _loaded(config: Config, start: str) -> nn.Module:
    model = models.load_transformer(start).requires_grad_(True)
    if config.train.lora_rank:
        lora.add(model, config)
    return model


def _data(config: Config, cache: Path, progress: Progress | None) -> prepare.Shared:
    if ranks.size() > 1:  # one makes what is missing, then all open it
        ranks.on_first(lambda: bool(prepare.shared(config, cache, progress=progress)))
    with ranks.together():
        return prepare.shared(config, cache, progress=progress)


def frozen_reference(
    config: Config, running: Any, load: Callable[[], nn.Module] | None = None
) -> Any:
    """The frozen base that the anchor holds on to (Eq. 5), in the precision of the trained one.

    load: makes the base, where it is not the pipeline's own.
    """
    if not config.loss.lambda_anc:
        return None
    if config.train.lora_rank:
        return lora.reference(running.model)
    base = load() if load else models.load_transformer(config.model.pipeline)
    base = engine.frozen(base, running.dtype)
    if config.train.compile:
        base.compile()
    return base


def _resume(
    config: Config, cache: Path, folder: Path, metrics: Path, running: Any
) -> dict[str, Any]:
    """The counters of the newest checkpoint, its weights in place; those of a start without one."""
    name = digest([trajectory.name(config), models.identity(config.model)])
    ranks.on_first(lambda: trajectory.seed(config, cache, folder))
    state = checkpoint.restore(folder, running.model, running.optimizer, metrics, name)
    if state is None:
        ranks.on_first(lambda: metrics.write_text(""))
        state = {"step": prepare.steps(config).start, "skipped": 0, "in_a_row": 0, "run": name}
    return state


def _live(config: Config, run: Path, start: int) -> Callable[..., None]:
    """Where live metrics go: TensorBoard, on one rank; a cell of the small world has none."""
    small = config.data.source == "world" and config.train.engine != "deepspeed"
    if small or ranks.rank():
        return lambda step, measured: None
    return board.open_board(run / "tensorboard", start, config.train.batch, config.train.clip)


def _export(config: Config, cache: Path, run: Path, running: Any) -> None:
    """Publishes the trained fp32 weights on rank 0; those of an adapter merged, and by themselves.

    ZeRO's own weights are rounded to bf16: its masters are put into the start's fp32 weights.
    """
    model = running.model
    if config.train.engine == "deepspeed":
        trained = engine.masters(model, running.optimizer)
        running.release()
        if ranks.rank() == 0:
            model = _loaded(config, _start(config, cache)).cpu()  # alone: no collective call
            model.load_state_dict(trained, strict=False)

    def write() -> None:
        if config.train.lora_rank:
            shutil.rmtree(run / "lora", ignore_errors=True)  # of a run that ended before the rest
            write_folder(run / "lora", lambda temporary: lora.save_adapter(model, temporary))
            lora.merge(model)
        write_folder(run / "transformer", lambda temporary: _save(model, temporary))

    ranks.on_first(write)


def _save(model: Any, folder: Path) -> None:
    model.save_pretrained(folder, safe_serialization=True)
    models.write_manifest(folder)


def _measured(rows: Tensor, norm: float) -> dict[str, Any]:
    """One line of metrics.jsonl; means are over the samples a term applies to, null without.

    rows [B, 11]: `_pass` of every sample of the global batch. All ranks find the same.
    """
    distances, alignment, weight, losses = rows.split((4, 2, 4, 1), 1)
    values: dict[str, Any] = {"loss": _number(losses.double().mean()), "grad_norm": _number(norm)}
    for k, name in enumerate(("fm", "rand", "hard", "anc")):
        values[f"d_{name}"] = _mean(distances[:, k], weight[:, k])
    for k, name in enumerate(("rand", "hard")):
        values[f"a_{name}"] = _mean(alignment[:, k], weight[:, k + 1])
        on = not distances[:, k + 1].isnan().all()
        values[f"contrasted_{name}"] = int(weight[:, k + 1].count_nonzero()) if on else 0
    values["skipped"] = not math.isfinite(norm)
    return values


def _mean(values: Tensor, weight: Tensor) -> float | None:
    return _number(values[weight > 0].mean())


def _number(value: Tensor | float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _count_skips(state: dict[str, Any], measured: dict[str, Any]) -> None:
    state["skipped"] += measured["skipped"]
    state["in_a_row"] = state["in_a_row"] + 1 if measured["skipped"] else 0


def _like(v: Tensor, other: Tensor | None) -> Any:
    return None if other is None else other.to(v.dtype)


if __name__ == "__main__":
    from direct.errors import command
    from direct.launch import main

    command(main)
