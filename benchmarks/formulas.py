"""Other people's ways to such a loss, written as formulas: what ours is compared with besides.

`delta_fm` is the published loss of Contrastive Flow Matching (Stoica et al., 2506.05350,
triplet_loss.py): flow matching and one negative, another sample of the batch with its own noise.
`gradient_in_forward` is Liger-Kernel's way to a gradient: computed beside the loss, saved, and
multiplied by what arrives in the backward pass. Liger asks the host whether that is 1, which a CUDA
graph cannot hold; here it is always multiplied.
"""

from __future__ import annotations

import torch
from torch import Tensor

from direct import velocity_loss

from . import cases

WEIGHT = 0.05  # the published weight


def delta_fm(v: Tensor, s: dict[str, Tensor]) -> Tensor:
    target = s["eps"] - s["x"]
    prediction, y = v.flatten(1).float(), target.flatten(1).float()
    other = y.roll(1, 0)  # the draw of the other sample is left out, here and in `ours`
    positive = (prediction - y).square().mean(1)
    negative = (prediction - other).square().mean(1)
    return (positive - WEIGHT * negative).mean()


def ours(v: Tensor, s: dict[str, Tensor], backend: str) -> Tensor:
    """`delta_fm` by our kernel."""
    return velocity_loss(
        v,
        s["x"],
        s["eps"],
        rand_latents=s["x"].roll(1, 0),
        rand_noise=s["eps"].roll(1, 0),
        lambda_rand=WEIGHT,
        threshold=float("inf"),
        backend=backend,
    ).loss


class _GradientInForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, v: Tensor, s: dict[str, Tensor], drawn: bool) -> Tensor:
        distances, _, gradient = cases.derived_by_hand(s | {"v": v}, drawn)
        ctx.save_for_backward(gradient)
        rand, hard, anc = cases.LAMBDAS
        return (distances @ distances.new_tensor([1.0, -rand, -hard, anc])).mean()

    @staticmethod
    def backward(ctx, factor: Tensor):
        (gradient,) = ctx.saved_tensors
        return gradient.mul_(factor), None, None


def gradient_in_forward(v: Tensor, s: dict[str, Tensor], drawn: bool = False) -> Tensor:
    """All four terms of Eq. 6."""
    return _GradientInForward.apply(v, s, drawn)
