"""Which backends can run on which tensors, and which one "auto" takes."""

from __future__ import annotations

import os
from importlib.util import find_spec

import torch
from torch import Tensor

from .. import extension
from ..common.errors import UserError, nearest

BACKENDS = ("cuda", "cpp", "triton", "eager")  # in the order of "auto"


def choose(backend: str, v: Tensor) -> str:
    """The backend that evaluates `v`: the named one if it can, or the first that can."""
    if backend == "auto":
        for name in BACKENDS:
            interpreted = name == "triton" and not v.is_cuda  # by name alone: it is slow
            if not interpreted and _obstacle(name, v) is None:
                return name
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
    return missing(backend)


def missing(backend: str) -> str | None:
    """What the backend lacks on this machine, whatever the tensors; None where nothing."""
    if backend == "eager":
        return None
    if backend == "triton":
        return None if find_spec("triton") else "triton is not installed; pip install triton"
    if extension.MISSING is not None:
        return extension.MISSING
    if backend == "cuda" and not extension.HAS_CUDA:
        return "the extension was built without nvcc; install again with nvcc on the path"
    return None
