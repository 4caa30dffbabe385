"""The loss as a formula (Eq. 6): the specification that every other backend is tested against.

With e_k = v - u_k and m_k = [|e_k| <= threshold], per sample of n elements:

    d_k    = (1/n) sum m_k e_k^2                           k in fm, rand, hard, anc
    a_k    = -(1/n) sum m_fm m_k e_fm e_k                  k in rand, hard          (Eq. 9)
    loss   = (1/B) sum_b sum_k w_bk c_k d_bk       c = 1, -lambda_rand, -lambda_hard, lambda_anc
    dloss/dv = (2 / (B n)) sum_k w_bk c_k m_k e_k

K target velocities u_k, given and with coefficients c_k of their own, are the last two lines alone.
The mask selects, it does not multiply: what is masked cannot leak, not even as nan. So what is not
finite in v is counted, for those who must know.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .. import noise

Result = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
CHUNK = 16384  # below the size from which torch splits one sum over threads


class Inputs(NamedTuple):
    """Validated arguments, in the order of every backend's (csrc/binding_loss.cpp's schema too).

    Noise that is None is drawn from `key`, except a negative's where `marginal`: there its mean,
    zero, is used instead and the distance carries its variance.
    """

    v: Tensor  # [B, ...]; all others that are not None, like it
    x: Tensor
    eps: Tensor | None
    x_rand: Tensor | None
    eps_rand: Tensor | None
    x_hard: Tensor | None
    eps_hard: Tensor | None
    v_ref: Tensor | None
    key: Tensor | None  # [B, 2] int64
    weight: Tensor | None  # [B] or [B, 4]
    lambda_rand: float
    lambda_hard: float
    lambda_anc: float
    threshold: float
    alpha_dot: float
    sigma_dot: float
    marginal: bool
    need_gradient: bool


class TargetInputs(NamedTuple):
    """The same of K given targets."""

    v: Tensor  # [B, ...]
    targets: Sequence[Tensor]  # K like v
    coefficients: Sequence[float]  # K
    weight: Tensor | None  # [B] or [B, K]
    threshold: float
    need_gradient: bool


def evaluate(p: Inputs) -> Result:
    """(loss [], distances [B, 4], alignment [B, 2], nonfinite [B], gradient [B, ...] or [0]).

    Sums are fp32, or fp64 for fp64 input; the count is int64.
    """
    precision = torch.float64 if p.v.dtype == torch.float64 else torch.float32
    v = p.v.to(precision)
    batch, elements = v.shape[0], max(v[:1].numel(), 1)

    def velocity(latents: Tensor, given: Tensor | None, term: int) -> Tensor:
        """u = alpha_dot x + sigma_dot eps, Eq. 1's for the linear interpolant."""
        u = p.alpha_dot * latents.to(precision)
        if given is None and p.marginal and term != noise.EPS:
            return u
        if given is None:
            assert p.key is not None  # validated
            given = noise.draw(p.key, v.shape, term)
        return u + p.sigma_dot * given.to(precision)

    targets = (
        velocity(p.x, p.eps, noise.EPS),
        None if p.x_rand is None else velocity(p.x_rand, p.eps_rand, noise.RAND),
        None if p.x_hard is None else velocity(p.x_hard, p.eps_hard, noise.HARD),
        None if p.v_ref is None else p.v_ref.to(precision),
    )
    unsampled = (False, p.marginal and p.eps_rand is None, p.marginal and p.eps_hard is None, False)
    coefficients = (1.0, -p.lambda_rand, -p.lambda_hard, p.lambda_anc)
    scale = per_term(p.weight, batch, 4, precision, v.device)  # w [B, 4]

    distances = torch.full((batch, 4), torch.nan, dtype=precision, device=v.device)
    alignment = torch.full((batch, 2), torch.nan, dtype=precision, device=v.device)
    loss = torch.zeros((), dtype=precision, device=v.device)
    gradient = torch.zeros(v.shape, dtype=precision, device=v.device) if p.need_gradient else None
    for k, u in enumerate(targets):
        if u is None:
            continue
        e = v - u
        e = torch.where(e.abs() <= p.threshold, e, 0)  # m e
        if k == 0:
            e_fm = e
        d = _sum(e * e) / elements
        if unsampled[k]:
            d = d + p.sigma_dot**2
        if k in (1, 2):
            alignment[:, k - 1] = -_sum(e_fm * e) / elements
        distances[:, k] = d
        w = scale[:, k] * coefficients[k]
        loss = loss + (w * d).sum() / max(batch, 1)
        if gradient is not None:
            gradient += (w * (2 / (max(batch, 1) * elements))).reshape(-1, *[1] * (v.dim() - 1)) * e
    nonfinite = _count(p.v - p.v)  # nan where an element is not finite, else 0
    gradient = p.v.new_empty(0) if gradient is None else gradient.to(p.v.dtype)
    return loss, distances, alignment, nonfinite, gradient


def evaluate_targets(p: TargetInputs) -> tuple[Tensor, Tensor, Tensor]:
    """(loss [], distances [B, K], gradient [B, ...] or [0]); sums are fp32, or fp64 for fp64."""
    precision = torch.float64 if p.v.dtype == torch.float64 else torch.float32
    v = p.v.to(precision)
    batch, elements = max(v.shape[0], 1), max(v[:1].numel(), 1)
    weight = per_term(p.weight, v.shape[0], len(p.targets), precision, v.device)
    distances, loss = torch.empty_like(weight), v.new_zeros(())
    gradient = torch.zeros_like(v) if p.need_gradient else None
    for k, (u, coefficient) in enumerate(zip(p.targets, p.coefficients, strict=True)):
        e = v - u.to(precision)
        e = torch.where(e.abs() <= p.threshold, e, 0)  # m e
        distances[:, k] = _sum(e * e) / elements
        w = weight[:, k] * coefficient
        loss = loss + (w * distances[:, k]).sum() / batch
        if gradient is not None:
            gradient += (w * (2 / (batch * elements))).reshape(-1, *[1] * (v.dim() - 1)) * e
    return loss, distances, p.v.new_empty(0) if gradient is None else gradient.to(p.v.dtype)


def per_term(
    weight: Tensor | None, batch: int, terms: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """The weights of samples and terms [B, terms], of those that a caller may give."""
    if weight is None:
        return torch.ones(batch, terms, dtype=dtype, device=device)
    return (weight if weight.dim() == 2 else weight[:, None].expand(-1, terms)).to(dtype)


def _count(values: Tensor) -> Tensor:
    """[B, ...] to [B] int64: how many are not 0; by samples, since by rows takes thrice as long."""
    if len(values) == 0:
        return values.new_zeros(0, dtype=torch.int64)
    return torch.stack([sample.count_nonzero() for sample in values])


def _sum(values: Tensor) -> Tensor:
    """[B, ...] to [B], in chunks one thread sums: the bits do not depend on batch or threads."""
    rows = values.flatten(1)
    if rows.numel() == 0:
        return rows.sum(1)
    chunks = torch.nn.functional.pad(rows, (0, -rows.shape[1] % CHUNK)).view(len(rows), -1, CHUNK)
    return torch.stack([chunk.sum(1).double().sum() for chunk in chunks]).to(values.dtype)
