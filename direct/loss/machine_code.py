"""What the GPU kernels became: registers, stack, memory instructions, read with cuobjdump."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from ..common.errors import UserError

# Of the mangled name: input type, what is drawn, with a gradient or not, with aligned rows or not.
_LOSS = re.compile(r"loss_kernelI([tf])Li(\d)ELb(\d)ELb(\d)E")
_TARGETS = re.compile(r"target_kernelI([tf])Lb(\d)ELb(\d)E")
_OTHER = re.compile(r"(normal|scale|empty|finish)_kernel(?:I([tf])(?:Lb(\d))?)?")
_DRAWN = ("nothing", "negatives", "everything")
_INSTRUCTION = re.compile(
    r"^\s+/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\d\s+)?([A-Z0-9_.]+)([^;]*)", re.MULTILINE
)


class Instruction(NamedTuple):
    address: int
    name: str  # with its modifiers, without its predicate
    operands: str


@dataclass(frozen=True)
class Kernel:
    name: str
    registers: int
    stack: int  # bytes; spilled registers live there
    listing: tuple[Instruction, ...]
    shared: int = 0  # bytes a block, with the system's

    @property
    def instructions(self) -> Counter[str]:
        return Counter(instruction.name for instruction in self.listing)

    def accesses(self) -> dict[str, int]:
        """Instructions on global (LDG, STG) and local (LDL, STL: spills) memory, by width."""
        memory = ("LDG", "STG", "LDL", "STL")
        return {op: count for op, count in self.instructions.items() if op.startswith(memory)}


def cuobjdump() -> str | None:
    """The tool's path: of the CUDA toolkit, or the copy inside the triton package."""
    found = shutil.which("cuobjdump")
    spec = find_spec("triton")
    if not found and spec and spec.origin:
        bundled = Path(spec.origin).parent / "backends/nvidia/bin/cuobjdump"
        found = str(bundled) if bundled.exists() else None
    return found


def check_arch(arch: str) -> None:
    """Raises `UserError` for what is no architecture's name."""
    if not re.fullmatch(r"sm_[0-9]{2,3}[a-z]?", arch):
        raise UserError(f"{arch[:80]!r} is no architecture; write it as sm_90")


def kernels(binary: Path, arch: str = "sm_90") -> list[Kernel]:
    """Every kernel in a library or cubin that was compiled for `arch`, as sm_90."""
    check_arch(arch)
    tool = cuobjdump()
    if tool is None:
        raise UserError(
            "cuobjdump is not installed; it comes with the CUDA toolkit and with triton"
        )

    def dump(what: str) -> str:
        command = [tool, "-arch", arch, what, str(binary)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = " ".join(done.stderr.split())[:200]
            raise UserError(f"{tool} does not read {binary} for {arch} ({said}); name another")
        return done.stdout

    usage = re.findall(r"Function (\S+):\s+REG:(\d+) STACK:(\d+) SHARED:(\d+)", dump("-res-usage"))
    code = {
        part.split(None, 1)[0]: tuple(
            Instruction(int(address, 16), name, operands.strip())
            for address, name, operands in _INSTRUCTION.findall(part)
        )
        for part in dump("-sass").split("Function : ")[1:]
    }
    return [
        Kernel(_readable(name), int(registers), int(stack), code.get(name, ()), int(shared))
        for name, registers, stack, shared in usage
    ]


def _readable(name: str) -> str:
    if match := _LOSS.search(name):
        kind, drawn, gradient, aligned = match.groups()
        what, draws = "loss", [f"draws {_DRAWN[int(drawn)]}"]
    elif match := _TARGETS.search(name):
        kind, gradient, aligned = match.groups()
        what, draws = "targets", []
    else:
        return _other(name)
    words = ["bf16" if kind == "t" else "fp32", *draws]
    words += ["gradient" if gradient == "1" else "no gradient"]
    words += ["aligned" if aligned == "1" else "any size"]
    return f"{what}: {', '.join(words)}"


def _other(name: str) -> str:
    match = _OTHER.search(name)
    if not match:
        return name
    what, kind, aligned = match.groups()
    words = [
        {"t": "bf16", "f": "fp32"}.get(kind, ""),
        {"0": "any size", "1": "aligned"}.get(aligned, ""),
    ]
    return f"{what}: {', '.join(filter(None, words))}" if kind else f"{what}_kernel"
