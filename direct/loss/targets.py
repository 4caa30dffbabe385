"""K given target velocities at once: what plug-ins add to the loss (direct/train/terms.py).

`reference.evaluate_targets` is the specification. The kernels, csrc/targets_* and `triton_targets`,
read v and each target once and write one gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from torch import Tensor

from . import backends, native, reference
from .checks import check_targets
from .gradient import WithGradient
from .reference import TargetInputs


class TargetLoss(NamedTuple):
    """What one evaluation gives: fp32, or fp64 for fp64 input."""

    loss: Tensor  # [] differentiable with respect to v only
    distances: Tensor  # [B, K] d(v, u_k)


def target_loss(
    v: Tensor,
    targets: Sequence[Tensor],
    coefficients: Sequence[float],
    *,
    weight: Tensor | None = None,
    threshold: float = 50.0,
    backend: Literal["auto", "cuda", "triton", "cpp", "eager"] = "auto",
) -> TargetLoss:
    """The mean over b of sum_k c_k w_bk d(v, u_k), d the mean square over a sample's elements.

    Args:
        v: model output [B, ...], bf16 or fp32 (fp64 with "eager"); may require grad.
        targets: u_k, 1 to 64 tensors with v's shape, dtype and device; no gradient goes to them.
        coefficients: c_k, finite; below 0 v is driven away. Convexity is the caller's to see to.
        weight: [B] or [B, K] fp32, per sample or per sample and target; default ones.
        threshold: elements with |v - u_k| above it are left out of term k, never renormalised.
        backend: "auto" takes the fastest that can run on v's device.

    What is not finite in v is masked, as in `velocity_loss`, which counts it.

    Raises UserError (a ValueError) on anything else.
    """
    check_targets(v, targets, coefficients, weight, threshold)
    numbers = tuple(float(c) for c in coefficients)
    inputs = (v, tuple(targets), numbers, weight, float(threshold))
    chosen = backends.choose(backend, v)
    if chosen in ("cpp", "cuda"):
        return TargetLoss(*native.evaluate_targets(*inputs))
    if chosen == "triton":
        from . import triton_targets  # decorated on import, so only where it is used

        return TargetLoss(*WithGradient.apply(triton_targets.evaluate, TargetInputs, *inputs))
    return TargetLoss(*WithGradient.apply(reference.evaluate_targets, TargetInputs, *inputs))
