"""The fused loss of DiReCT (Eq. 6): distances, telemetry and gradient in one pass over the latents.

`reference.py` is the specification, in plain tensor operations; `native.py` the compiled kernels of
csrc/; `python -m direct.velocity_loss` says which backends can run here.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from . import backends, native
from . import reference as _reference
from .checks import check
from .gradient import WithGradient
from .reference import Inputs

__all__ = ["VelocityLoss", "velocity_loss"]


class VelocityLoss(NamedTuple):
    """What one evaluation gives. Absent terms are nan."""

    loss: Tensor  # [] fp32, differentiable with respect to v only
    distances: Tensor  # [B, 4] fp32: d_fm, d_rand, d_hard, d_anc
    alignment: Tensor  # [B, 2] fp32: a_rand, a_hard (Eq. 9 per sample)
    nonfinite: Tensor  # [B] int64: how many elements of v are nan or infinite

    def guarded(self) -> Tensor:
        """The loss; where an element of v is not finite it and its whole gradient are nan.

        The mask hides such elements: they have no part in the loss, and a gradient of zero. Here
        whoever looks at the gradient's norm learns of them, without another pass over v and without
        waiting for the device. A v that is finite has the same loss and gradient, to the bit.
        """
        return self.loss * torch.where(self.nonfinite.any(), torch.nan, 1.0)


def velocity_loss(
    v: Tensor,
    latents: Tensor,
    noise: Tensor | None,
    *,
    rand_latents: Tensor | None = None,
    hard_latents: Tensor | None = None,
    reference: Tensor | None = None,
    rand_noise: Tensor | None = None,
    hard_noise: Tensor | None = None,
    negative_noise: Literal["sampled", "marginal"] = "sampled",
    noise_key: Tensor | None = None,
    lambda_rand: float = 0.0,
    lambda_hard: float = 0.0,
    lambda_anc: float = 0.0,
    weight: Tensor | None = None,
    threshold: float = 50.0,
    alpha_dot: float = -1.0,
    sigma_dot: float = 1.0,
    backend: Literal["auto", "cuda", "triton", "cpp", "eager"] = "auto",
) -> VelocityLoss:
    """Flow matching, minus two contrasted negatives, plus the anchor to a frozen model (Eq. 6).

    With u = alpha_dot x + sigma_dot eps (Wan: eps - x) and d the mean square over a sample's
    elements: loss = mean over b of w_b0 d(v, u) - lambda_rand w_b1 d(v, u_rand)
    - lambda_hard w_b2 d(v, u_hard) + lambda_anc w_b3 d(v, reference).

    Args:
        v: model output [B, ...], bf16 or fp32 (fp64 with "eager"); may require grad.
        latents: x, like v. All tensors have v's shape, dtype and device.
        noise: eps, like v; None draws it from `noise_key`, as `noise.interpolate` did for x_t.
        rand_latents, hard_latents, reference: a term whose tensor is None is not computed.
        rand_noise, hard_noise: given, they are used. None: drawn inside from `noise_key` where
            `negative_noise` is "sampled" (the paper); replaced by their mean, the distance carrying
            sigma_dot^2 in their place, where it is "marginal" (same mean gradient, less variance).
        noise_key: [B, 2] int64 of `direct.noise.keys`, needed where anything is drawn.
        lambda_rand, lambda_hard, lambda_anc: finite, with 1 - rand - hard + anc > 0 (convexity).
        weight: [B] or [B, 4] fp32, per sample or per sample and term; default ones.
        threshold: elements with |v - u_k| above it are left out of term k, never renormalised.
        backend: "auto" takes the fastest that can run on v's device.

    Returns the loss, with what it was made of, and per sample how many elements of v (of nothing
    else) are nan or infinite: whole numbers, exact for any size, hence int64.

    Raises UserError (a ValueError) on anything else.
    """
    tensors: dict[str, Tensor | None] = {
        "v": v,
        "latents": latents,
        "noise": noise,
        "rand_latents": rand_latents,
        "rand_noise": rand_noise,
        "hard_latents": hard_latents,
        "hard_noise": hard_noise,
        "reference": reference,
    }
    lambdas = {"lambda_rand": lambda_rand, "lambda_hard": lambda_hard, "lambda_anc": lambda_anc}
    scalars = {"threshold": threshold, "alpha_dot": alpha_dot, "sigma_dot": sigma_dot}
    check(tensors, lambdas, scalars, noise_key, weight, negative_noise)
    inputs: tuple[Any, ...] = (
        *tensors.values(),
        noise_key,
        weight,
        *(float(value) for value in (lambdas | scalars).values()),
        negative_noise == "marginal",
    )
    chosen = backends.choose(backend, v)
    if chosen in ("cpp", "cuda"):
        return VelocityLoss(*native.evaluate(*inputs))
    if chosen == "triton":
        from . import triton  # decorated on import, so only where it is used

        return VelocityLoss(*WithGradient.apply(triton.evaluate, Inputs, *inputs))
    return VelocityLoss(*WithGradient.apply(_reference.evaluate, Inputs, *inputs))
