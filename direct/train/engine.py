"""What updates the weights: AdamW on fp32 weights, whole or cut over ranks, or DeepSpeed's ZeRO-2.

Both classes answer the same calls, so that `train.step` is one function. ZeRO-2 computes with bf16
weights and keeps fp32 masters, cut over the ranks: at 1e-6 an update of bf16 weights would be lost
in their rounding. `masters` and `moments` give every engine's fp32 state by parameter name, so a
checkpoint does not depend on the engine's layout or on how many ranks wrote it.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..common import ranks
from ..common.errors import UserError
from ..config import Config, Train
from ..models import pipeline
from . import sharded
from .batch import own_rows

MOMENTS = ("exp_avg", "exp_avg_sq")


class Engine:
    """fp32 weights, updated by AdamW: of one process, or cut over all ranks (`sharded`)."""

    dtype = torch.float32  # of the weights

    def __init__(self, model: nn.Module, settings: Train, dtype: torch.dtype = torch.float32):
        self.model, self.clip = model.to(pipeline.device()), settings.clip
        self._cut = sharded.is_sharded(model)
        self.passes = len(own_rows(settings))  # per update
        self._together = settings.context_parallel
        self.optimizer: Any = adamw(model, settings)
        self._autocast, self._norm = dtype, math.nan

    def __call__(self, *inputs: Tensor, **options: Any) -> Any:
        return self.model(*inputs, **options)

    def precision(self) -> contextlib.AbstractContextManager[Any]:
        """Forward passes in `model.dtype` over fp32 weights."""
        if self._autocast == torch.float32:
            return contextlib.nullcontext()
        # Its cache would keep every block's rounded weights until the pass has ended.
        return torch.autocast(pipeline.device().type, self._autocast, cache_enabled=not self._cut)

    def inputs(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tensors

    def backward(self, loss: Tensor) -> None:
        """Adds one pass's share of the batch's mean gradient.

        Over ranks gradients are averaged; those that compute a clip together have parts of a sum.
        """
        (loss * self._together / self.passes).backward()

    def step(self) -> None:
        """Once per batch: clips, and updates unless the gradient is not finite."""
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self._norm = float(sharded.whole(norm))
        if math.isfinite(self._norm):
            self.optimizer.step()
        self.optimizer.zero_grad()

    def norm(self) -> float:
        """Of the last gradient, before clipping; not finite if that update was skipped."""
        return self._norm

    def release(self) -> None:
        """Nothing to free: what the engine holds goes with it."""


class DeepSpeed:
    """The same calls on ZeRO-2, in a process group of any number of ranks."""

    def __init__(self, model: nn.Module, config: Config):
        deepspeed = _deepspeed()
        weights = {name: p.detach() for name, p in _trained(model)}  # fp32, before the cast
        self.dtype, self._pending = getattr(torch, config.model.dtype), False
        _place(model, self.dtype, copy=True)  # what is updated are not `weights` themselves
        self.engine, self.optimizer, _, _ = deepspeed.initialize(
            model=model,
            optimizer=adamw(model, config.train),
            config=deepspeed_settings(config, ranks.size()),
            dist_init_required=False,
        )
        self.model = self.engine.module
        put(self.model, self.optimizer, weights, {}, 0)

    def __call__(self, *inputs: Tensor, **options: Any) -> Any:
        return self.engine(*inputs, **options)

    def precision(self) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext()  # the weights themselves are in `model.dtype`

    def inputs(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensor.to(self.dtype) for tensor in tensors)

    def backward(self, loss: Tensor) -> None:
        if self._pending:
            self.engine.step()  # between the passes of a batch it only counts them
        self.engine.backward(loss)
        self._pending = True

    def step(self) -> None:
        self.engine.step()
        self._pending = False

    def norm(self) -> float:
        norm = float(self.engine.get_global_grad_norm())
        return norm if self.engine.was_step_applied() else math.nan

    def release(self) -> None:
        """Frees what the engine holds; the model keeps its rounded weights."""
        self.engine.destroy()


def start(model: nn.Module, config: Config) -> Engine | DeepSpeed:
    """The engine that `train.engine` names, around a model whose trained weights require grad.

    The model may be on the CPU, and is moved.
    """
    if config.train.gradient_checkpointing:
        model.enable_gradient_checkpointing()  # type: ignore[operator]
    if config.train.compile:
        model.compile()
    if config.train.engine == "deepspeed":
        return DeepSpeed(model, config)
    if config.train.engine == "fsdp":
        sharded.shard(model, config)
    elif ranks.size() > 1:
        raise UserError(
            f"train.engine=torch runs in one process, not in {ranks.size()}; "
            "set train.engine=deepspeed or fsdp, or start without torchrun"
        )
    return Engine(model, config.train, getattr(torch, config.model.dtype))


def frozen(base: nn.Module, dtype: torch.dtype, config: Config | None = None) -> nn.Module:
    """`base` on the device, as the reference of a model trained in this dtype.

    config: where that model is cut over ranks; the base is cut alike.
    """
    base.requires_grad_(False)
    if config and config.train.engine == "fsdp":
        sharded.shard(base, config)
    else:
        _place(base, dtype)
    return base


def _place(model: nn.Module, dtype: torch.dtype, copy: bool = False) -> None:
    """Moves the model to the device, its weights cast and its buffers not, as DeepSpeed does.

    One weight after another: a 14B model's fp32 weights are 57 GB, and never on the device at once.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.to(pipeline.device(), dtype, copy=copy)
    model.to(pipeline.device())


def adamw(model: nn.Module, settings: Train) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        [parameter for _, parameter in _trained(model)],
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.epsilon,
        weight_decay=settings.weight_decay,
        fused=True,  # one pass over the weights
    )


def deepspeed_settings(config: Config, world: int) -> dict[str, Any]:
    """DeepSpeed's configuration; everything whose default has changed between versions is named.

    Clipping was off before 0.19.3, gradients were summed in bf16, and a non-finite gradient under
    bf16 destroyed the weights: App. D of the paper names none of them.
    """
    train = config.train
    micro = train.micro_batch or train.batch // world
    return {
        "train_batch_size": train.batch,
        "train_micro_batch_size_per_gpu": micro,
        "gradient_accumulation_steps": train.batch // (micro * world),
        "gradient_clipping": train.clip,
        "bf16": {"enabled": config.model.dtype == "bfloat16", "check_grad_overflow": True},
        "data_types": {"grad_accum_dtype": "fp32"},
        "communication_data_type": "fp32",  # sums over ranks as exact as over micro-batches
        "zero_optimization": {
            "stage": 2,
            "overlap_comm": True,
            "contiguous_gradients": True,
            "reduce_scatter": True,
            "reduce_bucket_size": int(2e8),
            "allgather_bucket_size": int(2e8),
        },
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 2**31,
    }


def masters(model: nn.Module, optimizer: Any) -> dict[str, Tensor]:
    """The trained weights in fp32, whole, by name. All ranks call it; rank 0 gets the tensors."""
    if not _is_zero(optimizer):
        return _kept((name, sharded.whole(p.detach())) for name, p in _trained(model))
    from deepspeed.utils import safe_get_full_fp32_param

    return _kept((name, safe_get_full_fp32_param(p)) for name, p in _trained(model))


def moments(model: nn.Module, optimizer: Any) -> tuple[dict[str, Tensor], int]:
    """AdamW's moments in fp32, whole, as `<name>.<moment>`, and how many updates they have seen."""
    if not _is_zero(optimizer):
        state = {name: optimizer.state.get(p) for name, p in _trained(model)}
        seen = {name: entry for name, entry in state.items() if entry}
        found = (
            (f"{name}.{moment}", sharded.whole(entry[moment]))
            for name, entry in seen.items()
            for moment in MOMENTS
        )
        return _kept(found), max((int(entry["step"]) for entry in seen.values()), default=0)
    from deepspeed.utils import safe_get_full_optimizer_state

    entry = optimizer.optimizer.state.get(optimizer.single_partition_of_fp32_groups[0], {})
    if not entry:
        return {}, 0
    whole = (
        (f"{name}.{moment}", safe_get_full_optimizer_state(parameter, moment))
        for name, parameter in _trained(model)
        for moment in MOMENTS
    )
    return _kept(whole), int(entry["step"])


@torch.no_grad()
def put(
    model: nn.Module,
    optimizer: Any,
    weights: Mapping[str, Tensor],
    moments: Mapping[str, Tensor],
    updates: int,
) -> None:
    """Puts what `masters` and `moments` gave back in place, on every rank."""
    if not _is_zero(optimizer):
        for name, parameter in _trained(model):
            parameter.copy_(sharded.cut(weights[name], parameter))
            if moments:
                # Fused AdamW wants the count where the parameter is.
                step = torch.tensor(float(updates), device=parameter.device)
                optimizer.state[parameter] = {"step": step} | {
                    moment: torch.empty_like(parameter).copy_(
                        sharded.cut(moments[f"{name}.{moment}"], parameter)
                    )
                    for moment in MOMENTS
                }
        return
    from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

    if moments:
        for flat in optimizer.single_partition_of_fp32_groups:
            step = torch.tensor(float(updates), device=flat.device)
            optimizer.optimizer.state[flat] = {"step": step} | {
                moment: torch.zeros_like(flat) for moment in MOMENTS
            }
        optimizer._lazy_init_hp_params_optimizer_state()  # makes them known by parameter
    for name, parameter in _trained(model):
        safe_set_full_fp32_param(parameter, weights[name].to(parameter.device))
        for moment in MOMENTS if moments else ():
            value = moments[f"{name}.{moment}"].to(parameter.device)
            safe_set_full_optimizer_state(parameter, value, moment)
    optimizer.update_lp_params()  # the bf16 weights are the masters' rounding


def _trained(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, p) for name, p in model.named_parameters() if p.requires_grad]


def _is_zero(optimizer: Any) -> bool:
    return hasattr(optimizer, "single_partition_of_fp32_groups")


def _kept(whole: Any) -> dict[str, Tensor]:
    """On rank 0, in main memory; the other ranks have only taken part."""
    return {name: tensor.cpu() for name, tensor in whole if ranks.rank() == 0}


def _deepspeed() -> Any:
    """DeepSpeed, told to run without a GPU where there is none, and without compiling for it."""
    gpu = torch.cuda.is_available()
    os.environ.setdefault("LOCAL_RANK", "0")  # it asks for it in a process of its own, too
    if not gpu:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # read when it is imported
    try:
        import deepspeed
    except ImportError as error:
        raise UserError(
            "train.engine=deepspeed needs DeepSpeed; install it: pip install -e '.[scale]'"
        ) from error
    if not gpu:
        # Its shared-memory collectives would be compiled for a minute; gloo does the same.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.utils.logger.setLevel("ERROR")
    return deepspeed
