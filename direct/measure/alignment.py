"""Gradient alignment (App. H, Eq. 13; Table S6), and Proposition 1 measured.

The first `measure.steps` of training, with each gradient of the loss taken alone: one forward pass,
then a backward pass through its retained graph for every gradient, in fp32 over all trainable
parameters and the whole batch. The update is their weighted sum, so the training continues as it
would. With d(v, u) the loss's mean square over the samples that are contrasted,

    g_fm = grad d(v, u+)    g_c = grad d(v, u-)    cos(g_fm, g_c): lambda cancels, and it is the
                                                   gradient of the loss, not of its negative

All kinds of negatives are measured at the same weights, on the same batch and with the same noise,
so their differences are paired. Beside them what the kernel tells for free: a_k, and the cosine in
output space, which needs no backward pass at all.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from direct import velocity_loss

from .. import flow, noise
from ..common import errors, preempt
from ..common.errors import UserError
from ..common.files import canonical_json, lock, read_journal, write_json
from ..config import Config, Run
from ..models import pipeline
from ..prepare import shared
from ..prepare.shared import Shared
from ..train import checkpoint, loop
from ..train.batch import Batch, load_batch, load_passes
from ..train.engine import Engine
from ..train.step import train_step
from .kinds import Negative, Negatives

GRADIENTS = ("random", "mans", "mins", "mans_marginal")  # whose cosines Table S6 shows
PROPOSITION = ("same", "other", "hard")  # same cluster, another one, MiNS: a against delta
TIMED = 7  # interleaved repetitions of `step_ratio`


def measure(run: Run) -> list[dict[str, Any]]:
    """One record per step: `{"prompt": "step 0001", "caption": "", "scores": {...}}`.

    Scores are named `<kind>.<reading>`: cosine for each of GRADIENTS; for these and for each of
    PROPOSITION what `telemetry` tells, a, delta and delta_x as means over the contrasted samples.
    `run/details.json` gets those of PROPOSITION sample by sample, and what a step costs. Resumes.
    """
    metrics = run.folder / "metrics.jsonl"
    with lock(run.folder / ".lock"):
        if not (run.folder / "details.json").exists():
            _check(run.config)
            _measure(run, metrics)
        shutil.rmtree(run.folder / "checkpoints", ignore_errors=True)
    return [
        {"prompt": f"step {line['step']:04d}", "caption": "", "scores": line["scores"]}
        for line in read_journal(metrics)
    ]


def _check(config: Config) -> None:
    loss = config.loss
    if not (loss.lambda_rand and loss.lambda_hard and config.macro.sampling == "partition"):
        raise UserError(
            f"alignment measures the training with MaNS and MiNS; loss.lambda_rand="
            f"{loss.lambda_rand} and loss.lambda_hard={loss.lambda_hard} must be above 0, "
            f"macro.sampling={config.macro.sampling} must be partition"
        )


def _measure(run: Run, metrics: Path) -> None:
    config = run.config
    torch.set_num_threads(config.threads)
    data = shared.open_shared(run)
    negatives_of = Negatives(run, data)
    model = loop.initial_model(run).train()
    if config.train.gradient_checkpointing:
        model.enable_gradient_checkpointing()  # type: ignore[operator]
    running = Engine(model, config.train)  # fp32 throughout, in one process
    reference = loop.frozen_reference(config, running)
    folder, last = run.folder / "checkpoints", config.measure.steps
    state = checkpoint.restore(folder, model, running.optimizer, metrics)
    if state is None:
        metrics.write_text("")
        state = {"step": 0}
    with open(metrics, "a") as log:
        for current in range(state["step"], last):
            batch = load_batch(config, data, current)
            readings = step(running, reference, batch, negatives_of(current, batch), config)
            _stop_if_not_finite(readings, current + 1)
            log.write(canonical_json({"step": current + 1} | readings) + "\n")
            log.flush()
            asked = preempt.requested()
            if asked or (current + 1) % config.train.checkpoint_every == 0 or current + 1 == last:
                os.fsync(log.fileno())
                checkpoint.save(folder, current + 1, model, running.optimizer, {}, metrics)
                preempt.check()
            run.progress("train", current + 1, last)
    lines = read_journal(metrics)
    samples = {name: [line["samples"][name] for line in lines] for name in lines[0]["samples"]}
    ratios = step_ratio(running, reference, data, negatives_of, config)
    write_json(
        run.folder / "details.json", {"samples": samples, "provenance": {"step_ratio": ratios}}
    )


# One step -----------------------------------------------------------------------------------------


def step(
    running: Engine, reference: Any, batch: Batch, negatives: dict[str, Negative], config: Config
) -> dict[str, Any]:
    """One update by Eq. 6 from its separate gradients; returns what is logged of it.

    negatives: by kind. Those of GRADIENTS have theirs taken, the others are told of by the kernel
    alone; "mans" and "mins", where given, take part in the update.
    """
    parameters = [p for p in running.model.parameters() if p.requires_grad]
    eps = noise.normal(batch.key, batch.x.shape, device=batch.x.device)
    width = config.train.micro_batch or len(batch.x)
    outputs: list[Tensor] = []
    gradients: dict[str, Tensor] = {}
    for start in range(0, len(batch.x), width):
        rows = slice(start, start + width)
        v, losses = _forward(running, reference, batch, eps, rows, negatives, config)
        *others, last = losses
        for name in (*others, last):  # one graph, one backward pass for each of its losses
            g = torch.autograd.grad(losses[name], parameters, retain_graph=name != last)
            flat = torch.cat([part.reshape(-1) for part in g]) * (len(v) / len(batch.x))
            gradients[name] = gradients[name] + flat if name in gradients else flat
        outputs.append(v.detach())
    _update(running, parameters, gradients, config)
    return _readings(torch.cat(outputs), eps, batch, gradients, negatives, config)


def _forward(
    running: Engine,
    reference: Any,
    batch: Batch,
    eps: Tensor,
    rows: slice,
    negatives: dict[str, Negative],
    config: Config,
) -> tuple[Tensor, dict[str, Tensor]]:
    """v of some of the batch's samples, and the terms of Eq. 6 on it, each by itself."""
    velocity = pipeline.velocity(config.model)
    x, eps, t = batch.x[rows], eps[rows], batch.t[rows]
    x_t, text = flow.interpolate(x, eps, t), batch.text[rows].to(x.dtype)
    v = velocity(running, x_t, t, text)
    losses = {"fm": _distance(v, x, eps, config)}
    if reference is not None:
        with torch.no_grad():
            v_ref = velocity(reference, x_t, t, text)
        losses["anc"] = _distance(v, -v_ref, torch.zeros_like(v), config)
    for name in (name for name in GRADIENTS if name in negatives):
        own = negatives[name]
        losses[name] = _distance(v, own.x[rows], own.eps[rows], config, own.weight[rows])
    return v, losses


def _distance(
    v: Tensor, x: Tensor, eps: Tensor, config: Config, weight: Tensor | None = None
) -> Tensor:
    """(1/B) sum_b w_b d(v, u) with u = eps - x: the kernel's first term, whatever u is."""
    loss = config.loss
    out = velocity_loss(v, x, eps, weight=weight, threshold=loss.threshold, backend=loss.backend)
    return out.loss


def _update(
    running: Engine,
    parameters: Sequence[nn.Parameter],
    gradients: dict[str, Tensor],
    config: Config,
) -> None:
    """Eq. 6 is linear in its terms, so its gradient is the sum of theirs."""
    loss = config.loss
    total = gradients["fm"].clone()
    for name, coefficient in (
        ("mans", -loss.lambda_rand),
        ("mins", -loss.lambda_hard),
        ("anc", loss.lambda_anc),
    ):
        if name in gradients:
            total.add_(gradients[name], alpha=coefficient)
    sizes = [p.numel() for p in parameters]
    for p, g in zip(parameters, total.split(sizes), strict=True):
        p.grad = g.view_as(p)
    running.step()


def _readings(
    v: Tensor,
    eps: Tensor,
    batch: Batch,
    gradients: dict[str, Tensor],
    negatives: dict[str, Negative],
    config: Config,
) -> dict[str, Any]:
    scores: dict[str, float] = {}
    samples: dict[str, list[float | None]] = {}
    for name, negative in negatives.items():
        told = telemetry(v, batch.x, eps, negative, config)
        on = negative.weight > 0
        for reading in ("a", "delta", "delta_x"):
            scores[f"{name}.{reading}"] = float(told[reading][on].mean())
        if name in gradients:
            scores[f"{name}.cosine"] = cosine(gradients["fm"], gradients[name])
            scores[f"{name}.telemetry"] = float(told["cosine"])  # sweeps: how well it predicts
        if name in PROPOSITION:
            for reading in ("a", "delta_x"):
                samples[f"{name}.{reading}"] = [
                    round(float(value), 6) if kept else None
                    for value, kept in zip(told[reading], on, strict=True)
                ]
    return {"scores": scores, "samples": samples}


def cosine(a: Tensor, b: Tensor) -> float:
    """Eq. 13."""
    return float(torch.dot(a, b) / (a.norm() * b.norm()))


def telemetry(
    v: Tensor, x: Tensor, eps: Tensor, negative: Negative, config: Config
) -> dict[str, Tensor]:
    """What the kernel tells: a [B] (Eq. 9), delta [B] = |u+ - u-|^2 / n, delta_x [B] without noise,

    and the batch's cosine in output space, -sum w a / sqrt(sum d_fm sum w d_neg): a telling of the
    parameters' cosine that would be exact if the model's Jacobian were orthogonal.
    """
    out = velocity_loss(
        v,
        x,
        eps,
        rand_latents=negative.x,
        rand_noise=negative.eps,
        threshold=config.loss.threshold,
        backend=config.loss.backend,
    )
    a, w = out.alignment[:, 0], negative.weight
    norms = out.distances[:, 0].sum() * (w * out.distances[:, 1]).sum()
    gap = negative.x - x
    return {
        "a": a,
        "delta": (eps - negative.eps + gap).square().flatten(1).mean(1),
        "delta_x": gap.square().flatten(1).mean(1),
        "cosine": -(w * a).sum() / norms.sqrt(),
    }


def _stop_if_not_finite(readings: dict[str, Any], step: int) -> None:
    for name, value in readings["scores"].items():
        if not math.isfinite(value):
            raise errors.Diverged(step, f"{name} is {value}")


def step_ratio(
    running: Engine, reference: Any, data: Shared, negatives_of: Negatives, config: Config
) -> dict[str, float]:
    """What measuring one sampler costs, as a multiple of the training step that it replaces.

    Interleaved on one batch, medians; without the anchor, and with the anchor and its own gradient.
    """
    ratios = {}
    for name, anchor in (("without_anchor", None), ("with_anchor", reference)):
        weights: dict[str, Any] = {"lambda_hard": 0.0} | ({} if anchor else {"lambda_anc": 0.0})
        own = replace(config, loss=replace(config.loss, **weights))
        batch = load_batch(own, data, 0)
        passes = load_passes(own, data, 0)
        mans = {"mans": negatives_of(0, load_batch(config, data, 0))["mans"]}
        seconds: dict[str, list[float]] = {"train": [], "measure": []}
        for _ in range(TIMED):
            seconds["train"].append(_timed(train_step, running, anchor, passes, own))
            seconds["measure"].append(_timed(step, running, anchor, batch, mans, own))
        ratios[name] = round(median(seconds["measure"]) / median(seconds["train"]), 3)
    return ratios if reference is not None else {"without_anchor": ratios["without_anchor"]}


def _timed(call: Callable[..., object], *arguments: Any) -> float:
    """Seconds on the GPU; on a CPU processor seconds, which other processes change less."""
    gpu = torch.cuda.is_available()
    clock = time.perf_counter if gpu else time.process_time
    if gpu:
        torch.cuda.synchronize()
    start = clock()
    call(*arguments)
    if gpu:
        torch.cuda.synchronize()
    return clock() - start
