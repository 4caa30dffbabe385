"""The C++ and CUDA backends: two operators of the compiled library, with their behaviour in torch.

The library defines `direct::velocity_loss` and `direct::target_loss` for CPU and CUDA tensors; here
they learn shapes (for torch.compile) and their derivatives. `gradient`, the last output, is itself
not differentiable.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .. import extension
from .gradient import WithGradient, scaled
from .reference import Inputs, Result, TargetInputs


def evaluate(v: Tensor, *arguments) -> tuple[Tensor, ...]:
    """All of `Result` but the gradient: one nobody wants is neither computed nor written."""
    if torch.compiler.is_compiling():
        need_gradient = v.requires_grad and torch.is_grad_enabled()
        return torch.ops.direct.velocity_loss(v, *arguments, need_gradient)[:-1]
    # What `register_autograd` makes of 17 arguments takes 50 us a call, as long as the tiny
    # profile's whole loss: it asks for the schema's list of them once per argument (torch 2.13).
    return WithGradient.apply(operator, Inputs, v, *arguments)


def evaluate_targets(v: Tensor, *arguments) -> tuple[Tensor, ...]:
    """The same of K targets: (loss [], distances [B, K])."""
    if torch.compiler.is_compiling():
        need_gradient = v.requires_grad and torch.is_grad_enabled()
        return torch.ops.direct.target_loss(v, *arguments, need_gradient)[:-1]
    return WithGradient.apply(target_operator, TargetInputs, v, *arguments)


def operator(inputs: Inputs) -> Result:
    """The registered operator itself, on arguments that are known to be right."""
    # Autograd is dealt with around it: asking the operator's own, in Python, would take 7 us more.
    with torch._C._AutoDispatchBelowAutograd():
        return torch.ops.direct.velocity_loss(*inputs)


def target_operator(inputs: TargetInputs) -> tuple[Tensor, ...]:
    with torch._C._AutoDispatchBelowAutograd():
        return torch.ops.direct.target_loss(*inputs)


def _fake(v: Tensor, *arguments) -> Result:
    batch, need_gradient = v.shape[0], arguments[-1]
    return (
        v.new_empty((), dtype=torch.float32),
        v.new_empty((batch, 4), dtype=torch.float32),
        v.new_empty((batch, 2), dtype=torch.float32),
        v.new_empty((batch,), dtype=torch.int64),
        v.new_empty(v.shape if need_gradient else (0,)),
    )


def _fake_targets(v: Tensor, targets, *arguments) -> tuple[Tensor, ...]:
    return (
        v.new_empty((), dtype=torch.float32),
        v.new_empty((v.shape[0], len(targets)), dtype=torch.float32),
        v.new_empty(v.shape if arguments[-1] else (0,)),
    )


def _setup_context(ctx, inputs, output) -> None:
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output[-1])
    ctx.others = [_no_gradient(value) for value in inputs[1:]]


def _backward(ctx, loss_gradient, *_):
    (gradient,) = ctx.saved_tensors
    if loss_gradient is None:
        return (None, *ctx.others)
    return (scaled(gradient, loss_gradient), *ctx.others)


def _no_gradient(value):
    """None, or one for each of a list of tensors, as torch wants it."""
    lists = isinstance(value, list | tuple) and any(isinstance(x, Tensor) for x in value)
    return [None] * len(value) if lists else None


if extension.MISSING is None:
    for name, fake in (("velocity_loss", _fake), ("target_loss", _fake_targets)):
        torch.library.register_fake(f"direct::{name}", fake)
        torch.library.register_autograd(f"direct::{name}", _backward, setup_context=_setup_context)
