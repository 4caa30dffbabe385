"""What every backend refuses: one sentence with the argument, what it was, what it should be."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..common.errors import UserError

MAX_TARGETS = 64  # csrc/targets.h's


def check(
    tensors: dict[str, Tensor | None],
    lambdas: dict[str, float],
    scalars: dict[str, float],
    key: Tensor | None,
    weight: Tensor | None,
    negative_noise: str,
) -> None:
    """Raises `UserError` unless the arguments of `velocity_loss` make one convex loss."""
    _check_tensors(tensors)
    if tensors["latents"] is None:
        raise UserError("latents is None; give the clean latents x, shaped like v")
    _check_numbers(lambdas, scalars)
    _check_terms(tensors, lambdas)
    _check_noise(tensors, key, negative_noise)
    _check_weight(tensors["v"], weight, 4)


def check_targets(
    v: Tensor,
    targets: Sequence[Tensor],
    coefficients: Sequence[float],
    weight: Tensor | None,
    threshold: float,
) -> None:
    """Raises `UserError` unless the arguments of `target_loss` make a loss."""
    for name, values in (("targets", targets), ("coefficients", coefficients)):
        if not isinstance(values, list | tuple):
            raise UserError(f"{name} is {type(values).__name__}; give a list, one for each target")
    if not 1 <= len(targets) <= MAX_TARGETS:
        raise UserError(f"targets holds {len(targets)} tensors; give 1 to {MAX_TARGETS}")
    if len(coefficients) != len(targets):
        raise UserError(
            f"coefficients holds {len(coefficients)} numbers for {len(targets)} targets; "
            "give one for each"
        )
    names = [f"targets[{k}]" for k in range(len(targets))]
    for name, target in zip(names, targets, strict=True):
        if target is None:
            raise UserError(f"{name} is None; give a tensor shaped like v")
    _check_tensors({"v": v, **dict(zip(names, targets, strict=True))})
    for k, coefficient in enumerate(coefficients):
        _check_number(f"coefficients[{k}]", coefficient)
    _check_threshold(threshold)
    _check_weight(v, weight, len(targets))


def check_backend(name: str) -> None:
    """Raises `UserError` where the devices of this machine cannot run the backend of that name."""
    from .backends import choose

    choose(name, torch.empty(1, 2, device="cuda" if torch.cuda.is_available() else "cpu"))


def _check_tensors(tensors: dict[str, Tensor | None]) -> None:
    v = tensors["v"]
    if not isinstance(v, Tensor):
        raise UserError(f"v is {type(v).__name__}; give the model's output, a tensor [B, ...]")
    if v.dtype not in (torch.bfloat16, torch.float32, torch.float64):
        raise UserError(f"v has dtype {v.dtype}; use torch.bfloat16 or torch.float32")
    if v.dim() < 2:
        raise UserError(
            f"v has shape {list(v.shape)}; it needs a batch and at least one more dimension"
        )
    shape, dtype, device = v.shape, v.dtype, v.device  # asked once: microseconds count here
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        if not isinstance(tensor, Tensor):
            raise UserError(f"{name} is {type(tensor).__name__}; give a tensor shaped like v")
        if tensor.shape != shape:
            have, want = list(tensor.shape), list(shape)
            raise UserError(f"{name} has shape {have}; it must be {want}, as v has")
        if tensor.dtype != dtype:
            raise UserError(f"{name} has dtype {tensor.dtype}; it must be {dtype}, as v has")
        if tensor.device != device:
            raise UserError(f"{name} has device {tensor.device}; it must be {device}, as v has")


def _check_numbers(lambdas: dict[str, float], scalars: dict[str, float]) -> None:
    for name, value in (lambdas | scalars).items():
        if name != "threshold":
            _check_number(name, value)
    _check_threshold(scalars["threshold"])
    curvature = 1 - lambdas["lambda_rand"] - lambdas["lambda_hard"] + lambdas["lambda_anc"]
    if not curvature > 0:
        raise UserError(
            f"1 - lambda_rand - lambda_hard + lambda_anc is {curvature:g} and the loss not convex; "
            f"lower lambda_rand={lambdas['lambda_rand']} or lambda_hard={lambdas['lambda_hard']}"
        )


def _check_number(name: str, value: float) -> None:
    if not isinstance(value, int | float):
        raise UserError(f"{name} is {type(value).__name__}; give a number")
    if not -math.inf < value < math.inf:  # true for nan; torch.compile can trace it
        raise UserError(f"{name} is {value}; give a finite number")


def _check_threshold(value: float) -> None:
    if not (isinstance(value, int | float) and value == math.inf):
        _check_number("threshold", value)
    if not value > 0:
        raise UserError(f"threshold is {value}; use a positive number, inf for no mask")


def _check_terms(tensors: dict[str, Tensor | None], lambdas: dict[str, float]) -> None:
    for weight_name, tensor_name in (
        ("lambda_rand", "rand_latents"),
        ("lambda_hard", "hard_latents"),
        ("lambda_anc", "reference"),
    ):
        if lambdas[weight_name] != 0 and tensors[tensor_name] is None:
            raise UserError(
                f"{weight_name} is {lambdas[weight_name]} but {tensor_name} is None; "
                f"give {tensor_name} or set {weight_name} to 0"
            )
    for term in ("rand", "hard"):
        if tensors[f"{term}_noise"] is not None and tensors[f"{term}_latents"] is None:
            raise UserError(
                f"{term}_noise is given but {term}_latents is None; give both or neither"
            )


def _check_noise(
    tensors: dict[str, Tensor | None], key: Tensor | None, negative_noise: str
) -> None:
    v = tensors["v"]
    assert v is not None
    if negative_noise not in ("sampled", "marginal"):
        raise UserError(f"negative_noise is {negative_noise!r}; use 'sampled' or 'marginal'")
    drawn = [] if tensors["noise"] is not None else ["noise"]
    if negative_noise == "sampled":
        drawn += [
            f"{term}_noise"
            for term in ("rand", "hard")
            if tensors[f"{term}_latents"] is not None and tensors[f"{term}_noise"] is None
        ]
    if drawn and key is None:
        raise UserError(
            f"{' and '.join(drawn)} must be drawn but noise_key is None; "
            f"give noise_key, int64 [{v.shape[0]}, 2] from direct.noise.keys"
        )
    if key is not None:
        want = f"int64 [{v.shape[0]}, 2] on {v.device}, from direct.noise.keys"
        if not isinstance(key, Tensor):
            raise UserError(f"noise_key is {type(key).__name__}; give {want}")
        if key.dtype != torch.int64 or key.shape != (v.shape[0], 2) or key.device != v.device:
            raise UserError(
                f"noise_key is {key.dtype} {list(key.shape)} on {key.device}; give {want}"
            )


def _check_weight(v: Tensor | None, weight: Tensor | None, terms: int) -> None:
    assert v is not None
    if weight is None:
        return
    batch = v.shape[0]
    want = f"a float32 tensor [{batch}] or [{batch}, {terms}] on {v.device}"
    if not isinstance(weight, Tensor):
        raise UserError(f"weight is {type(weight).__name__}; give {want}")
    wanted_dtypes = (torch.float32, torch.float64) if v.dtype == torch.float64 else (torch.float32,)
    shapes = ((batch,), (batch, terms))
    if (
        weight.dtype not in wanted_dtypes
        or tuple(weight.shape) not in shapes
        or weight.device != v.device
    ):
        raise UserError(
            f"weight is {weight.dtype} {list(weight.shape)} on {weight.device}; give {want}"
        )
    if weight.requires_grad:
        raise UserError(
            "weight requires grad; the loss differentiates v alone, give weight.detach()"
        )
