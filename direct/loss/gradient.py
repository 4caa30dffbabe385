"""Backward of every backend: the gradient was computed beside the loss and is only scaled here."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .. import extension

Backend = Callable[[Any], tuple[Tensor, ...]]  # its arguments as one value; the gradient is last


class WithGradient(torch.autograd.Function):
    """Shows a backend to autograd: all of its inputs but `need_gradient`, found out here."""

    @staticmethod
    def forward(ctx, backend: Backend, inputs: Any, v: Tensor, *arguments):
        need_gradient = ctx.needs_input_grad[2]
        *results, gradient = backend(inputs._make((v, *arguments, need_gradient)))
        if need_gradient:
            ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(*results[1:])
        ctx.arguments = len(arguments)
        return tuple(results)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, loss_gradient, *_):
        (gradient,) = ctx.saved_tensors
        return (None, None, scaled(gradient, loss_gradient), *[None] * ctx.arguments)


def scaled(gradient: Tensor, factor: Tensor) -> Tensor:
    """`gradient * factor`, `factor` a float32 scalar, without waiting for the device.

    Where the compiled kernels run, the device itself skips a factor of 1: nothing is touched.
    They work in place, on a copy where the graph is kept for another backward pass.
    """
    if torch.compiler.is_compiling() or type(gradient) is not Tensor:
        return (gradient * factor if _wide(gradient) else gradient.float() * factor).to(
            gradient.dtype
        )
    if gradient.device.type == "cpu":
        value = factor.item()
        return gradient if value == 1 and not _graph_is_kept() else gradient * value
    scale_ = _device_scale(gradient)
    if scale_ is None:
        return (gradient if _wide(gradient) else gradient.float()).mul(factor).to(gradient.dtype)
    gradient = gradient.clone() if _graph_is_kept() else gradient
    scale_(gradient, factor)
    return gradient


def _wide(tensor: Tensor) -> bool:
    return tensor.dtype != torch.bfloat16


def _graph_is_kept() -> bool:
    """Whether the running backward pass retains its graph: then what was saved must stay."""
    return torch._C._autograd._get_current_graph_task_keep_graph()


def _device_scale(gradient: Tensor) -> Callable[[Tensor, Tensor], None] | None:
    if gradient.dtype == torch.float64:
        return None
    if extension.runs_on(gradient.device):
        return torch.ops.direct.scale_
    if importlib.util.find_spec("triton") is None:
        return None
    from . import triton

    return triton.scale_
