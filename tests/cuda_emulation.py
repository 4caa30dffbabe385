"""The CUDA kernels on the CPU: csrc/*.cu as C++, against tests/csrc/emulation/.

What C++ cannot read (launches, shared variables, inline PTX) is rewritten by `REWRITES`; all else
is compiled as it stands. A failed check of the emulation raises `Fault`.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from direct.loss.reference import Inputs, Result, TargetInputs

ROOT = Path(__file__).parent.parent
EMULATION = ROOT / "tests/csrc/emulation"
HEADERS = ("cuda_kernels.h", "targets.h", "vectors.h", "velocity_loss.h", "noise.h")
ENTRIES = {
    "cuda_kernels.cu": "entry.cpp",
    "targets_cuda.cu": "targets_entry.cpp",
    "noise_cuda.cu": "noise_entry.cpp",
}
FLAGS = (
    "-std=c++17",
    "-shared",
    "-fPIC",
    "-w",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-strict-aliasing",
    "-U_FORTIFY_SOURCE",  # whose longjmp refuses to change stacks
)
REWRITES = (
    (r'asm volatile\("" : "\+[lr]"\(value\)\);', ";"),
    (r"([\w:]+(?:<\w+>)?)<<<(.*?)>>>\(", r"emulated::launch(\1, \2)("),
    (r"__shared__ (\w+) (\w+)((?:\[\w+\])*);", r"auto& \2 = emulated::shared<\1\3>(__LINE__);"),
    (
        r'asm\("st\.global\.v4\.b32 [^;]*;"\s*:\s*: "l"\((\w+)\), "r"\((\w+)\.x\)[^;]*\)',
        r"*emulated::on_boundary(reinterpret_cast<uint4*>(\1)) = \2",
    ),
    (
        r'asm\("rsqrt\.approx\.ftz\.f32 [^;]*;" : "=f"\(([\w.]+)\) : "f"\(([\w.]+)\)\)',
        r"\1 = emulated::rsqrt(\2)",
    ),
    (
        r'asm\("cvt\.rn\.bf16x2\.f32 [^;]*;" : "=r"\((.+?)\) : "f"\((\w+)\), "f"\((\w+)\)\)',
        r"\1 = emulated::narrow_pair(\2, \3)",
    ),
)
LIBC = ctypes.CDLL(None)
PROT_NONE = 0
ABSENT, GIVEN, DRAWN, MEAN = range(4)  # velocity_loss.h's Source


class Fault(Exception):
    """What a kernel did that no GPU may be asked to do."""


def compiler() -> str | None:
    return os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")


def build(
    folder: Path,
    change: Callable[[str], str] = lambda text: text,
    flags: Sequence[str] = ("-O1",),
    kernels: str = "cuda_kernels.cu",
) -> Emulation:
    """Compiles these kernels into `folder`; `change` edits their file's text first."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (kernels, *HEADERS):
        text = (ROOT / "csrc" / name).read_text()
        text = change(text) if name == kernels else text
        for pattern, replacement in REWRITES:
            text = re.sub(pattern, replacement, text, flags=re.S)
        (folder / name).write_text(text)
    library = folder / "emulated.so"
    command = [*(compiler() or "c++").split(), *FLAGS, *flags, f"-I{EMULATION}", f"-I{folder}"]
    subprocess.run([*command, EMULATION / ENTRIES[kernels], "-o", library], check=True)
    return Emulation(ctypes.CDLL(str(library)))


Place = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Emulation:
    """The kernels; `seed` draws the order of threads and blocks, `place` says where outputs lie."""

    library: ctypes.CDLL

    def loss(self, p: Inputs, seed: int = 0, place: Place = lambda tensor: tensor) -> Result:
        """As direct/loss/reference.py's `evaluate`, in the inputs' own type."""
        v, batch = p.v, p.v.shape[0]
        elements = v[:1].numel()
        inputs = [None if tensor is None else _rows(tensor) for tensor in p[:8]]
        workspace = place(self._scratch("workspace", _int(batch), _int(elements)))
        tickets = place(torch.zeros(batch + 1, dtype=torch.int32))
        results = [place(torch.full(shape, torch.nan)) for shape in ((1,), (batch, 4), (batch, 2))]
        nonfinite = place(torch.full((batch,), -1, dtype=torch.int64))
        gradient = place(torch.full(v.shape if p.need_gradient else (0,), torch.nan, dtype=v.dtype))
        weight = None if p.weight is None else place(p.weight.contiguous())
        self._call(
            "loss",
            seed,
            (ctypes.c_void_p * 8)(*[_at(tensor) for tensor in inputs]),
            (ctypes.c_int64 * 8)(*[0 if t is None else t.stride(0) for t in inputs]),
            (ctypes.c_int32 * 4)(*_sources(p)),
            None if p.key is None else place(p.key.contiguous()),
            weight,
            0 if weight is None else 4 if weight.dim() == 2 else 1,
            (ctypes.c_float * 11)(*_numbers(p, batch * elements)),
            _int(batch),
            _int(elements),
            v.dtype == torch.bfloat16,
            gradient if p.need_gradient else None,
            (ctypes.c_void_p * 3)(*[_at(tensor) for tensor in results]),
            nonfinite,
            workspace,
            tickets,
        )
        return results[0].reshape(()), results[1], results[2], nonfinite, gradient

    def targets(
        self, p: TargetInputs, seed: int = 0, place: Place = lambda tensor: tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As direct/loss/reference.py's `evaluate_targets`, of a library of targets_cuda.cu."""
        v, batch, count, elements = p.v, p.v.shape[0], len(p.targets), p.v[:1].numel()
        rows = [_rows(tensor) for tensor in (v, *p.targets)]
        scale = 2 / (batch * elements) if batch * elements else 0.0
        loss, distances = (place(torch.full(shape, torch.nan)) for shape in ((1,), (batch, count)))
        gradient = place(torch.full(v.shape if p.need_gradient else (0,), torch.nan, dtype=v.dtype))
        weight = None if p.weight is None else place(p.weight.contiguous())
        self._call(
            "targets",
            seed,
            (ctypes.c_void_p * len(rows))(*[tensor.data_ptr() for tensor in rows]),
            (ctypes.c_int64 * len(rows))(*[tensor.stride(0) for tensor in rows]),
            count,
            weight,
            0 if weight is None else count if weight.dim() == 2 else 1,
            (ctypes.c_float * (2 * count))(*p.coefficients, *[scale * c for c in p.coefficients]),
            ctypes.c_float(p.threshold),
            _int(batch),
            _int(elements),
            v.dtype == torch.bfloat16,
            gradient if p.need_gradient else None,
            loss,
            distances,
            place(self._scratch("targets_workspace", _int(batch), _int(elements), count)),
        )
        return loss.reshape(()), distances, gradient

    def normal(self, key: Tensor, out: Tensor, term: int, seed: int = 0) -> Tensor:
        """As direct/noise.py's `draw`, of a library of noise_cuda.cu; so is `interpolate`."""
        batch, elements = _int(len(out)), _int(out[:1].numel())
        self._call("normal", seed, key, batch, elements, term, out)
        return out

    def interpolate(self, x: Tensor, key: Tensor, t: Tensor, out: Tensor, seed: int = 0) -> Tensor:
        bf16, sizes = x.dtype == torch.bfloat16, (_int(len(x)), _int(x[:1].numel()))
        self._call("interpolate", seed, key, t, bf16, *sizes, x, out)
        return out

    def scale(self, gradient: Tensor, factor: Tensor, seed: int = 0) -> Tensor:
        bf16 = gradient.dtype == torch.bfloat16
        self._call("scale", seed, gradient, factor, _int(gradient.numel()), bf16)
        return gradient

    def _scratch(self, name: str, *sizes) -> Tensor:
        """What a launch asks for beside its results; an allocator's begins on 16 bytes."""
        function = getattr(self.library, f"emulated_{name}")
        function.restype = ctypes.c_int64
        floats = function(*sizes)
        return torch.full((floats + -floats % 4,), torch.nan)

    def _call(self, name: str, seed: int, *arguments) -> None:
        plain = [_pointer(a) if a is None or isinstance(a, Tensor) else a for a in arguments]
        function = getattr(self.library, f"emulated_{name}")
        function.restype = ctypes.c_char_p
        if said := function(ctypes.c_uint64(seed), *plain):
            raise Fault(said.decode())


_int = ctypes.c_int64


def _at(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(_at(tensor))


def _rows(tensor: Tensor) -> Tensor:
    """The kernels take any stride from sample to sample, and samples in one piece."""
    return tensor if tensor[:1].is_contiguous() else tensor.contiguous()


def _sources(p: Inputs) -> list[int]:
    def negative(latents: Tensor | None, given: Tensor | None) -> int:
        return (
            ABSENT
            if latents is None
            else GIVEN
            if given is not None
            else MEAN
            if p.marginal
            else DRAWN
        )

    rand, hard = negative(p.x_rand, p.eps_rand), negative(p.x_hard, p.eps_hard)
    return [DRAWN if p.eps is None else GIVEN, rand, hard, ABSENT if p.v_ref is None else GIVEN]


def _numbers(p: Inputs, elements: int) -> list[float]:
    coefficients = [1.0, -p.lambda_rand, -p.lambda_hard, p.lambda_anc]
    used = [elements > 0 and source != ABSENT for source in _sources(p)]
    scales = [2 / elements * c if use else 0.0 for c, use in zip(coefficients, used, strict=True)]
    return [*coefficients, *scales, p.threshold, p.alpha_dot, p.sigma_dot]


def guarded(tensor: Tensor, high: bool, gap: int = 0, shift: int = 0) -> Tensor:
    """A copy of [B, ...] between two pages that may not be touched.

    It lies `shift` elements from the upper page (`high`) or from the lower one. Its rows are `gap`
    elements apart; all that is not in the tensor is nan.
    """
    batch, row, size = len(tensor), tensor[:1].numel() + gap, tensor.element_size()
    extent = max(batch * row - gap, 1)
    page = mmap.PAGESIZE
    inside = -(-(extent + shift) * size // page) * page
    memory = mmap.mmap(-1, inside + 2 * page)
    memory[:] = b"\xff" * len(memory)
    begin = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for wall in (begin, begin + page + inside):
        if LIBC.mprotect(ctypes.c_void_p(wall), ctypes.c_size_t(page), PROT_NONE):
            raise OSError("mprotect failed")
    offset = page + (inside - (extent + shift) * size if high else shift * size)
    flat = torch.frombuffer(memory, dtype=tensor.dtype, offset=offset, count=extent)
    strides = torch.empty(tensor.shape[1:], device="meta").stride()
    return flat.as_strided(tensor.shape, (row, *strides)).copy_(tensor)
