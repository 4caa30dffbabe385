"""The thin trainer: one step function, for one process here and for a DeepSpeed engine alike.

Data order, times, noise, negatives and dropout are pure functions of (seed, step, global sample),
so every variant with one seed sees the same ones, and a run resumes bit for bit from its step.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from direct import velocity_loss

from . import checkpoint, flow, generate, models, noise, preempt, prepare, trajectory
from .config import Config, Evaluate, Macro, Micro, Sample, Train, identity
from .data.cache import lock
from .data.encode import Progress
from .files import canonical_json, write_folder
from .negatives import macro
from .prepare import Shared

PATIENCE = 3  # non-finite steps in a row that end a run


class Diverged(RuntimeError):
    """Training met `PATIENCE` non-finite steps in a row. A result of the cell, not a failure."""

    def __init__(self, step: int, reason: str) -> None:
        super().__init__(f"diverged at step {step}: {reason}")
        self.step, self.reason = step, reason


@dataclass(frozen=True)
class Batch:
    """What one step reads. A negative's tensor is None where its term is off."""

    x: Tensor  # [B, C, T, H, W] clean latents
    t: Tensor  # [B] noise levels
    key: Tensor  # [B, 2] keys of the noise of x and of both negatives
    text: Tensor  # [B, L, D]
    x_rand: Tensor | None
    eps_rand: Tensor | None  # given for in-batch negatives alone; else drawn inside the loss
    x_hard: Tensor | None
    weight: Tensor  # [B, 4] of fm, rand, hard, anc: 0 where a sample is not contrasted


class Engine:
    """The calls of a DeepSpeed engine that `step` makes, on one process: fp32 weights, AdamW."""

    def __init__(self, model: nn.Module, settings: Train) -> None:
        self.model, self.clip = model, settings.clip
        self.optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=settings.learning_rate,
            betas=(settings.beta1, settings.beta2),
            eps=settings.epsilon,
            weight_decay=settings.weight_decay,
            fused=True,  # one pass over the weights
        )
        self._norm = math.nan

    def __call__(self, *inputs: Tensor, **options: Any) -> Any:
        return self.model(*inputs, **options)

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def step(self) -> None:
        """Clips, and updates unless the gradient is not finite."""
        self._norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), self.clip))
        if math.isfinite(self._norm):
            self.optimizer.step()
        self.optimizer.zero_grad()

    def get_global_grad_norm(self) -> float:
        """Before clipping."""
        return self._norm


def load_batch(config: Config, data: Shared, step: int) -> Batch:
    """The global batch of one step, a pure function of (config, step)."""
    seed, size, device = config.seed, config.train.batch, models.device()
    counts = np.array([len(prompts) for prompts in data.hard_prompts])
    chosen, prompted, slot = prepare.negatives_of(config, step, counts)
    x = data.latents(chosen).to(device)
    key = noise.keys(seed, step, range(size), generate.TRAINING).to(device)
    x_rand, eps_rand = _rand_negatives(config, data, step, chosen, x, key)
    prompts = [data.samples[i].prompt if on else "" for i, on in zip(chosen, prompted, strict=True)]
    weight = np.ones((size, 4), np.float32)
    weight[:, 1] = prompted
    weight[:, 2] = slot >= 0
    return Batch(
        x=x,
        t=flow.sample_times(seed, step, size, config.train.shift).to(device),
        key=key,
        text=data.text(prompts).to(device),
        x_rand=x_rand,
        eps_rand=eps_rand,
        x_hard=_hard_negatives(data, chosen, slot, x) if config.loss.lambda_hard else None,
        weight=torch.from_numpy(weight).to(device),
    )


def step(engine: Any, reference: Any, batch: Batch, config: Config) -> dict[str, Any]:
    """One update by Eq. 6; returns what is logged of it."""
    loss = config.loss
    if loss.regenerate_noise:
        eps, x_t = None, noise.interpolate(batch.x, batch.key, batch.t)
    else:
        eps = noise.normal(batch.key, batch.x.shape, device=batch.x.device)
        x_t = flow.interpolate(batch.x, eps, batch.t)
    inputs = (x_t, flow.TIMESTEPS * batch.t, batch.text)
    with _precision(config):
        v = engine(*inputs, return_dict=False)[0]
        v_ref = None
        if reference is not None:  # Eq. 5
            with torch.no_grad():
                v_ref = reference(*inputs, return_dict=False)[0]
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
    # The loss's mask hides a nan in v; a term of value 0 lets it reach the gradient, and the guard.
    engine.backward(out.loss + 0 * v.float().sum())
    engine.step()
    return _measured(out, batch.weight, engine.get_global_grad_norm())


def train(config: Config, *, cache: Path, run: Path, progress: Progress | None = None) -> Path:
    """Trains one cell: `run/transformer`, loadable by `WanTransformer3DModel.from_pretrained`.

    Resumes from `run/checkpoints`; returns at once where the result is there. `train.steps == 0` is
    the base itself: nothing is written. Raises `Diverged`.
    """
    run = Path(run)
    final = run / "transformer"
    if config.train.steps == 0:
        return final
    with lock(run / ".lock"):
        if not final.is_dir():
            _train(config, Path(cache), run, progress)
        shutil.rmtree(run / "checkpoints", ignore_errors=True)  # also what a kill just here left
    return final


def sft_config(config: Config) -> Config:
    """The SFT cell that `train.init == "sft"` starts from: no negatives, first half of the steps.

    What plays no part in it is set back, so that all cells of one seed share one SFT run.
    """
    return replace(
        config,
        loss=replace(config.loss, lambda_rand=0.0, lambda_hard=0.0, negative_noise="sampled"),
        train=replace(config.train, init="base", steps=config.train.steps // 2),
        macro=Macro(), micro=Micro(), sample=Sample(), hard_sample=Sample(), evaluate=Evaluate(),
    )  # fmt: skip


def _train(config: Config, cache: Path, run: Path, progress: Progress | None) -> None:
    torch.set_num_threads(config.threads)
    model = _initial(config, cache, progress).train().requires_grad_(True)
    data = prepare.shared(config, cache, progress=progress)
    reference = None
    if config.loss.lambda_anc:
        reference = models.load_transformer(config.model.pipeline, config.model.revision)
        reference.requires_grad_(False)
    engine = Engine(model, config.train)
    folder, metrics = run / "checkpoints", run / "metrics.jsonl"
    steps, shared = prepare.steps(config), trajectory.wanted(config, cache)
    trajectory.seed(config, cache, folder)
    state = checkpoint.restore(folder, model, engine.optimizer, metrics)
    if state is None:
        metrics.write_text("")
        state = {"step": steps.start, "skipped": 0, "in_a_row": 0}
    began = time.monotonic()
    with open(metrics, "a") as log:
        for current in range(state["step"], steps.stop):
            measured = step(engine, reference, load_batch(config, data, current), config)
            _count_skips(state, measured)
            log.write(canonical_json({"step": current + 1} | measured) + "\n")
            log.flush()
            if state["in_a_row"] == PATIENCE:
                raise Diverged(current + 1, f"{PATIENCE} non-finite steps in a row")
            if current + 1 in shared:
                os.fsync(log.fileno())
                save = partial(checkpoint.save, step=current + 1, model=model, state=state,
                               optimizer=engine.optimizer, metrics=metrics, keep=0)  # fmt: skip
                trajectory.publish(config, current + 1, cache, save)
            due = preempt.requested() or (current + 1) % config.train.checkpoint_every == 0
            if due and current + 1 < steps.stop:
                os.fsync(log.fileno())
                checkpoint.save(folder, current + 1, model, engine.optimizer, state, metrics)
                preempt.check()
            if progress:
                progress("train", current + 1 - steps.start, len(steps))
        os.fsync(log.fileno())
    with open(run / "timing.jsonl", "a") as log:  # apart: a wall time is not part of a result
        seconds = round(time.monotonic() - began, 3)
        log.write(canonical_json({"steps": steps.stop - state["step"], "seconds": seconds}) + "\n")
    write_folder(run / "transformer", lambda temporary: _save(model, temporary))


def _initial(config: Config, cache: Path, progress: Progress | None) -> nn.Module:
    """The fp32 weights that training starts from."""
    if config.train.init == "sft" and config.train.steps // 2:
        sft = sft_config(config)
        run = cache / "runs" / identity(sft)
        return models.load_transformer(train(sft, cache=cache, run=run, progress=progress))
    return models.load_transformer(config.model.pipeline, config.model.revision)


def _save(model: Any, folder: Path) -> None:
    model.save_pretrained(folder, safe_serialization=True)
    models.write_manifest(folder)


def _rand_negatives(
    config: Config, data: Shared, step: int, chosen: np.ndarray, x: Tensor, key: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    """x_rand of Eq. 3, and its noise where it is not drawn inside the loss."""
    if not config.loss.lambda_rand:
        return None, None
    u = macro.uniforms(config.seed, step, len(chosen))
    if config.macro.sampling == "batch":  # DeltaFM: another sample of the batch, its own noise
        other = torch.from_numpy(macro.draw_in_batch(u)).to(x.device)
        sampled = config.loss.negative_noise == "sampled"
        return x[other], noise.normal(key[other], x.shape, device=x.device) if sampled else None
    if config.macro.sampling == "uniform":
        negatives = macro.draw_uniform(chosen, u, len(data.samples))
    else:
        assert data.pools is not None  # prepare.shared makes them for this sampling
        negatives = macro.draw(data.pools, chosen, u)
    return data.latents(negatives).to(x.device), None


def _hard_negatives(data: Shared, chosen: np.ndarray, slot: np.ndarray, x: Tensor) -> Tensor:
    """x_hard of Eq. 4; zeros, of weight 0, for samples that are not contrasted."""
    x_hard = torch.zeros_like(x)
    rows = np.flatnonzero(slot >= 0)
    if len(rows):
        prompts = [data.hard_prompts[chosen[b]][slot[b]] for b in rows]
        x_hard[torch.from_numpy(rows)] = data.hard(prompts).to(x)
    return x_hard


def _measured(out: Any, weight: Tensor, norm: float) -> dict[str, Any]:
    """One line of metrics.jsonl; means are over the samples a term applies to, null without."""
    values: dict[str, Any] = {"loss": _number(out.loss), "grad_norm": _number(norm)}
    for k, name in enumerate(("fm", "rand", "hard", "anc")):
        values[f"d_{name}"] = _mean(out.distances[:, k], weight[:, k])
    for k, name in enumerate(("rand", "hard")):
        values[f"a_{name}"] = _mean(out.alignment[:, k], weight[:, k + 1])
        on = not out.distances[:, k + 1].isnan().all()
        values[f"contrasted_{name}"] = int(weight[:, k + 1].count_nonzero()) if on else 0
    values["skipped"] = not math.isfinite(norm)
    return values


def _mean(values: Tensor, weight: Tensor) -> float | None:
    return _number(values[weight > 0].mean())


def _number(value: Tensor | float) -> float | None:
    number = float(value.detach() if isinstance(value, Tensor) else value)
    return number if math.isfinite(number) else None


def _count_skips(state: dict[str, Any], measured: dict[str, Any]) -> None:
    state["skipped"] += measured["skipped"]
    state["in_a_row"] = state["in_a_row"] + 1 if measured["skipped"] else 0


def _like(v: Tensor, other: Tensor | None) -> Any:
    return None if other is None else other.to(v.dtype)


def _precision(config: Config) -> contextlib.AbstractContextManager[Any]:
    """Forward passes in model.dtype over fp32 weights."""
    if config.model.dtype == "float32":
        return contextlib.nullcontext()
    return torch.autocast(models.device().type, getattr(torch, config.model.dtype))
