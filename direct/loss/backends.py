"""Which backends can run on which tensors, and which one "auto" takes."""

from __future__ import annotations

import os
import sys
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from .. import extension
from ..common.errors import UserError, nearest

BACKENDS = ("cuda", "cpp", "triton", "eager")  # in the order of "auto"


def choose(backend: str, v: Tensor) -> str:
    """The backend that evaluates `v`: the named one if it can, or the first that can."""
    if backend == "auto":
        # Triton's interpreter by name alone: it is slow.
        names = [name for name in BACKENDS if name != "triton" or v.is_cuda]
        chosen = next(name for name in names if _obstacle(name, v) is None)
        if v.is_cuda and chosen != "cuda" and not torch.compiler.is_compiling():
            _say_once(f"direct: the loss runs by {chosen!r} on {v.device}: {_obstacle('cuda', v)}")
        return chosen
    if backend not in BACKENDS:
        raise UserError(f"backend is {backend!r}; {nearest(str(backend), ('auto', *BACKENDS))}")
    obstacle = _obstacle(backend, v)
    if obstacle is not None:
        raise UserError(f"backend is {backend!r}, but {obstacle}; use 'auto'")
    return backend


def _obstacle(backend: str, v: Tensor) -> str | None:
    """Why the backend cannot take `v`; None where it can."""
    if backend == "eager":
        return None
    if v.dtype == torch.float64:
        return "v is torch.float64, which 'eager' alone takes"
    interpreted = backend == "triton" and os.environ.get("TRITON_INTERPRET") == "1"
    wanted = "cpu" if backend == "cpp" or interpreted else "cuda"
    if v.device.type != wanted:
        return f"v is on {v.device}"
    lacking = missing(backend)
    if lacking is None and backend == "cuda" and not torch.compiler.is_compiling():
        return refusal(v.device)
    return lacking


def missing(backend: str) -> str | None:
    """What the backend lacks on this machine, whatever the tensors; None where nothing."""
    if backend == "eager":
        return None
    if backend == "triton":
        return None if find_spec("triton") else "triton is not installed; pip install triton"
    if extension.MISSING is not None:
        return extension.MISSING
    if backend == "cuda" and not extension.HAS_CUDA:
        note = extension.cuda_note().removeprefix("none, ")
        return f"the extension was built without CUDA ({note}); install again where nvcc works"
    return None


@cache
def refusal(device: torch.device) -> str | None:
    """Why the compiled kernels do not run on a CUDA device, by trying one; None where they do.

    A card without code in the library and a driver older than the library's CUDA both fail here.
    """
    key = torch.zeros(1, 2, dtype=torch.int64, device=device)
    try:
        torch.ops.direct.normal(key, 4, 0)
    except RuntimeError as error:
        said = str(error).strip().splitlines()[0]
        return f"a trial of the compiled kernels failed ({said}); built for {extension.cuda_note()}"
    return None


@cache
def _say_once(line: str) -> None:
    print(line, file=sys.stderr)
