"""Where a part runs, and by what kernels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from direct.loss import backends, native
from direct.loss.reference import Inputs, Result, TargetInputs

Record = dict[str, Any]


class NotHere(Exception):
    """What a part needs and this machine lacks, in words."""


@dataclass(frozen=True)
class Place:
    """A GPU, or this machine's CPU for a rehearsal: the same code on small sizes."""

    rehearse: bool
    folder: Path  # for what a part writes beside its results

    @property
    def device(self) -> str:
        return "cpu" if self.rehearse else "cuda"


@dataclass(frozen=True)
class Kernels:
    """One backend's kernels. Those of noise and path are CUDA's alone."""

    loss: Callable[[Inputs], Result]
    scale: Callable[[Tensor, Tensor], object]  # gradient *= factor
    normal: Callable[[Tensor, int, int], Tensor] | None = None  # (key, elements, term)
    interpolate: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None  # (x [B, n], key, t)
    targets: Callable[[TargetInputs], tuple[Tensor, ...]] | None = None


@lru_cache
def kernels(name: str, place: Place) -> Kernels:
    """ "cuda" or "triton" on the GPU; in a rehearsal their emulation and Triton's interpreter."""
    if (lacking := backends.missing(name)) is not None:
        raise NotHere(lacking)
    if name == "triton":
        from direct.loss import triton, triton_targets

        return Kernels(triton.evaluate, triton.scale_, targets=triton_targets.evaluate)
    if place.rehearse:
        return _emulated(place.folder / "emulation")
    if (refused := backends.refusal(torch.device("cuda", 0))) is not None:
        raise NotHere(refused)
    own = torch.ops.direct
    return Kernels(native.operator, own.scale_, own.normal, own.interpolate, native.target_operator)


def _emulated(folder: Path) -> Kernels:
    from tests import cuda_emulation

    if cuda_emulation.compiler() is None:
        raise NotHere("no C++ compiler, which the emulation of CUDA needs")
    emulation = cuda_emulation.build(folder)
    noise = cuda_emulation.build(folder / "noise", kernels="noise_cuda.cu")
    targets = cuda_emulation.build(folder / "targets", kernels="targets_cuda.cu").targets
    return Kernels(
        emulation.loss,
        emulation.scale,
        lambda key, elements, term: noise.normal(key, torch.zeros(len(key), elements), term),
        lambda x, key, t: noise.interpolate(x, key, t, torch.empty_like(x)),
        targets,
    )
