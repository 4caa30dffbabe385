"""The compiled kernels, direct/_C.abi3.so: loaded once, or the reason why not.

`MISSING` is None where they are loaded; then `torch.ops.direct` has `velocity_loss`, `normal`,
`interpolate` and `instruction_set`, and with `HAS_CUDA` the same for CUDA tensors.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import torch
from torch import Tensor

PATH = Path(__file__).with_name("_C.abi3.so")


def _load() -> str | None:
    if not PATH.exists():
        return (
            f"{PATH.name} was not built: install again where a C++ compiler is on the path "
            "(`pip install -v` shows what was missing)"
        )
    try:
        torch.ops.load_library(str(PATH))
    except OSError as error:
        return f"{PATH.name} cannot be loaded ({error}); install again under this torch"
    return None


MISSING = _load()
HAS_CUDA = MISSING is None and torch._C._dispatch_has_kernel_for_dispatch_key(
    "direct::velocity_loss", "CUDA"
)


def cuda_note() -> str:
    """What setup.py noted in the library: CUDA's version and architectures, or "none, " and why."""
    found = re.search(rb"direct-cuda:([ -~]+)", PATH.read_bytes()) if PATH.exists() else None
    return found[1].decode() if found else "none, and no note of why"


if MISSING is None:

    @torch.library.register_fake("direct::normal")
    def _(key: Tensor, elements: int, term: int) -> Tensor:
        return key.new_empty((key.shape[0], elements), dtype=torch.float32)

    @torch.library.register_fake("direct::interpolate")
    def _(latents: Tensor, key: Tensor, t: Tensor) -> Tensor:
        return torch.empty_like(latents, memory_format=torch.contiguous_format)
else:
    print(f"direct: no compiled kernels, plain torch instead, slower: {MISSING}", file=sys.stderr)


def runs_on(device: torch.device) -> bool:
    """Whether the compiled kernels take tensors of this device."""
    return MISSING is None and (device.type == "cpu" or (device.type == "cuda" and HAS_CUDA))
