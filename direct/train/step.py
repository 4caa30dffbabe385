"""One optimizer step by Eq. 6: L = d(v, u+) - lambda_rand d(v, u_rand) - lambda_hard d(v, u_hard)
+ lambda_anc d(v, v_ref), with u = eps - x, each negative with a noise of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .. import flow, noise, velocity_loss
from ..common import ranks
from ..config import Config
from ..models import pipeline
from . import metrics, terms
from .batch import Batch


def train_step(
    running: Any, reference: Any, batches: Batch | Sequence[Batch], config: Config
) -> dict[str, Any]:
    """One update by Eq. 6 from this rank's micro-batches; returns what is logged of the whole.

    running: an engine of `engine`; reference: the frozen base, or `None`; both are called as the
    transformer is.
    """
    batches = [batches] if isinstance(batches, Batch) else batches
    rows = [_accumulate(running, reference, batch, config) for batch in batches]
    running.step()
    return metrics.line(
        ranks.gather(torch.cat(rows), config.train.context_parallel),
        running.norm(),
        terms.names(config),
    )


def noised(batch: Batch, config: Config) -> tuple[Tensor | None, Tensor]:
    """eps and x_t, [B, C, T, H, W]; eps is None where the loss draws it again."""
    x, t = batch.x, batch.t
    if config.loss.regenerate_noise:
        return None, noise.interpolate(x, batch.key, t)
    eps = noise.normal(batch.key, x.shape, device=x.device)
    return eps, flow.interpolate(x, eps, t)


def _accumulate(running: Any, reference: Any, batch: Batch, config: Config) -> Tensor:
    """Forward and backward of one micro-batch; the rows of `metrics.line`."""
    loss, velocity = config.loss, pipeline.velocity(config.model)
    x, t = batch.x, batch.t
    eps, x_t = noised(batch, config)
    x_t, text = running.inputs(x_t, batch.text)
    with running.precision():
        v_ref = None
        if reference is not None:  # Eq. 5; before v, whose activations are then not yet held
            with torch.no_grad():
                v_ref = velocity(reference, x_t, t, text)
        v = velocity(running, x_t, t, text)

    def as_v(z: Tensor | None) -> Any:
        return None if z is None else z.to(v.dtype)

    out = velocity_loss(
        v,
        as_v(x),
        as_v(eps),
        rand_latents=as_v(batch.x_rand),
        rand_noise=as_v(batch.eps_rand),
        hard_latents=as_v(batch.x_hard),
        reference=as_v(v_ref),
        noise_key=batch.key,
        negative_noise=loss.negative_noise,
        lambda_rand=loss.lambda_rand,
        lambda_hard=loss.lambda_hard,
        lambda_anc=loss.lambda_anc,
        weight=batch.weight,
        threshold=loss.threshold,
        backend=loss.backend,
    )
    frozen = reference and partial(velocity, reference)
    added, columns = terms.evaluate(v, batch, config, eps, x_t, v_ref, frozen)  # of plug-ins
    # What the loss's mask hides, the engine's guard must see.
    running.backward(sum(added, out.guarded()))
    total = sum(added, out.loss).detach().expand(len(batch.weight), 1)
    return torch.cat([out.distances, out.alignment, batch.weight, total, *columns], 1)
