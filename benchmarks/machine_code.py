"""python -m benchmarks.machine_code: what the CUDA kernels became, as a profiler reads it.

Writes benchmarks/results/machine_code.md: registers, blocks an SM, 16-byte loads, how far ahead of
their first use they are issued, bytes in flight, and what `throughput` predicts from that. No GPU
is needed; cuobjdump is.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median

from direct import extension
from direct.common.errors import UserError, command
from direct.common.files import check_file, write_text
from direct.loss import backends, machine_code
from direct.loss.machine_code import Instruction, Kernel

from . import throughput

RESULT = Path(__file__).with_name("results") / "machine_code.md"
ARCHS = ("sm_90", "sm_100")
THREADS, CHUNK = 256, 8192  # csrc/cuda_kernels.cu's
READ = {"nothing": 8, "negatives": 6, "everything": 5}  # inputs that are read with all four terms
BATCHES = (1, 4, 8)  # of the paper's sample, which is 256 chunks
SAMPLE_CHUNKS = 256
MOST_STAGES = 8


@dataclass(frozen=True)
class Reading:
    """One variant of the loss's kernel."""

    name: str
    registers: int
    spilled: int  # bytes of stack
    blocks: int  # resident on an SM
    loop: int  # instructions for 16 bytes of each input
    loads: int  # of 16 bytes, in the loop
    ahead: tuple[int, ...]  # instructions from each load to its first use
    in_flight: int  # bytes on an SM at most
    program: throughput.Program
    passes_ahead: dict[int, int]  # of each load: 0 is used in its own pass, 1 in the next one

    def share_of_copy(self, batch: int) -> float:
        """What `throughput` predicts for the paper's sample."""
        passes = CHUNK // (THREADS * (8 if self.name.startswith("bf16") else 4))
        whole = throughput.unrolled(self.program, passes, self.passes_ahead)
        return throughput.share_of_copy(whole, self.blocks, SAMPLE_CHUNKS * batch)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.machine_code", description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULT, help="(benchmarks/results/...)")
    arguments = parser.parse_args()
    check_file(arguments.out, "--out", [".md"])
    if not extension.HAS_CUDA:
        raise UserError(f"no CUDA kernels to read: {backends.missing('cuda')}")
    found = {arch: readings(arch) for arch in ARCHS}
    write_text(arguments.out, report(found))
    print(arguments.out.read_text())


@cache
def _kernels(arch: str) -> list[Kernel]:
    return machine_code.kernels(extension.PATH, arch)


def readings(arch: str) -> list[Reading]:
    kernels = _kernels(arch)
    if not kernels:
        note = extension.cuda_note()
        raise UserError(f"the library has no code for {arch}: it was built with CUDA {note}")
    aligned = [k for k in kernels if k.name.startswith("loss") and k.name.endswith(", aligned")]
    return [read(kernel) for kernel in sorted(aligned, key=_order)]


def _order(kernel: Kernel) -> tuple[str, int, str]:
    kind, drawn, gradient, _ = kernel.name.removeprefix("loss: ").split(", ")
    return kind, -READ[drawn.removeprefix("draws ")], gradient


def read(kernel: Kernel) -> Reading:
    body = loop(kernel)
    loads = [i for i, one in enumerate(body) if is_load(one)]
    uses = {i: first_use(body, i) for i in loads}
    share = READ[kernel.name.split("draws ")[1].split(",")[0]] / len(loads)
    blocks = blocks_per_sm(kernel.registers, kernel.shared)
    # At each instruction: the passes whose load was issued before it and is not used before it.
    outstanding = max(
        sum((a + d - i) // len(body) - (a - i) // len(body) for a, d in uses.items())
        for i in range(len(body))
    )
    return Reading(
        kernel.name.removeprefix("loss: ").removesuffix(", aligned"),
        kernel.registers,
        kernel.stack,
        blocks,
        len(body),
        len(loads),
        tuple(uses.values()),
        round(blocks * THREADS * 16 * outstanding * share),
        program(body, uses, share),
        {load: (load + distance) // len(body) for load, distance in uses.items()},
    )


def loop(kernel: Kernel) -> tuple[Instruction, ...]:
    """The shortest loop with the most streamed loads: what runs for every vector."""
    found = []
    for one in kernel.listing:
        target = re.search(r"0x([0-9a-f]+)", one.operands) if one.name.startswith("BRA") else None
        begin = int(target[1], 16) if target else one.address
        if begin < one.address:
            body = tuple(o for o in kernel.listing if begin <= o.address <= one.address)
            found.append((-sum(map(is_load, body)), len(body), body))
    if not found or not min(found)[0]:
        raise UserError(f"no loop with 16-byte loads in {kernel.name}")
    return min(found)[2]


def is_load(one: Instruction) -> bool:
    streamed = one.name.startswith("LDG") and ".EF" in one.name and one.name.endswith(".128")
    return streamed or is_copy(one)


def is_copy(one: Instruction) -> bool:
    """From global to shared memory, past the registers."""
    return one.name.startswith("LDGSTS") and one.name.endswith(".128")


def first_use(body: tuple[Instruction, ...], at: int) -> int:
    """Instructions from a load to the first that reads its registers, around the loop's end.

    A copy into shared memory is used by who waits for its group: a wait names how many groups, the
    newest ones, it leaves out.
    """
    if is_copy(body[at]):
        return _wait(body, at)
    first = int(re.match(r"R(\d+)", body[at].operands)[1])  # type: ignore[index]
    wanted = {f"R{first + i}" for i in range(4)}
    for distance in range(1, len(body)):
        one = body[(at + distance) % len(body)]
        _, _, rest = one.operands.partition(",")
        read_ = one.operands if one.name.startswith("STG") else rest
        if wanted & set(re.findall(r"\bR\d+", read_)):
            return distance
    return len(body)


def _wait(body: tuple[Instruction, ...], copy: int) -> int:
    groups = 0  # from the copy's own on
    for distance in range(1, MOST_STAGES * len(body)):
        one = body[(copy + distance) % len(body)]
        groups += one.name == "LDGDEPBAR"
        if one.name.startswith("DEPBAR") and groups > int(one.operands.split(",")[1], 16):
            return distance
    raise UserError(f"nobody waits for the copy at {body[copy].address:#x}")


def blocks_per_sm(registers: int, shared: int) -> int:
    """Registers are handed out in steps of 256 a warp; a file has 65536, an SM 2048 threads.

    Of shared memory sm_90 and sm_100 have 228 KB; each block takes at least 1 KB for the system.
    """
    warp = -(-registers * 32 // 256) * 256
    by_memory = 228 * 1024 // max(shared, 1024)
    return min(65536 // (warp * THREADS // 32), 2048 // THREADS, by_memory)


def program(
    body: tuple[Instruction, ...], uses: dict[int, int], share: float
) -> throughput.Program:
    """The loop as `throughput` wants it: runs of issue cycles between loads, waits and stores."""
    waits: dict[int, list[int]] = {}
    for load, distance in uses.items():
        waits.setdefault((load + distance) % len(body), []).append(load)
    steps: list[throughput.Step] = []
    names: list[str] = []

    def end_run() -> None:
        if names:
            steps.append(("issue", throughput.issue_cycles(names), 0))
            names.clear()

    for i, one in enumerate(body):
        if i in waits or is_load(one) or one.name.startswith("STG"):
            end_run()
        steps += [("wait", 0, load) for load in waits.get(i, ())]
        names.append(one.name)
        if is_load(one):
            steps.append(("load", 512 * share, i))
        elif one.name.startswith("STG"):
            steps.append(("store", 512, i))
    end_run()
    return tuple(steps)


def report(found: dict[str, list[Reading]]) -> str:
    lines = [
        "# Machine code of the CUDA kernels",
        "",
        "`python -m benchmarks.machine_code` on a library built with CUDA "
        f"{extension.cuda_note().split(' ')[0]}. Nothing here was measured on a GPU.",
        "",
        "One pass of the loop takes 16 bytes of each input. *Ahead* is the number of instructions",
        "from a load to its first use: nearest, median, farthest; the loads are copies into shared",
        "memory, used where the next pass waits for them, or for v the one after it. *In flight*",
        "is what the loads of one SM's resident blocks can have under way at most, of the inputs",
        "that a variant reads. All loads count in part, v's too: 69 KB stand for 72, 81 for 84.",
    ]
    for arch, rows in found.items():
        lines += ["", f"## {arch}", "", *_table(rows), "", *_others(arch)]
    lines += ["", *throughput.ASSUMPTIONS.splitlines(), "", *_predictions(found["sm_90"])]
    return "\n".join(lines) + "\n"


def _table(rows: list[Reading]) -> list[str]:
    lines = [
        "| variant | registers | spilled bytes | blocks an SM | instructions a pass "
        "| loads of 16 bytes | ahead | KB in flight |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        ahead = f"{min(row.ahead)}, {median(row.ahead):g}, {max(row.ahead)}"
        cells = (row.name, row.registers, row.spilled, row.blocks, row.loop, row.loads, ahead)
        lines.append(f"| {' | '.join(map(str, cells))} | {row.in_flight / 1024:.0f} |")
    return lines


def _others(arch: str) -> list[str]:
    """The kernels beside the loss: all that they read and write."""
    lines = ["| kernel | registers | spilled bytes | instructions | accesses |"]
    lines += ["|---|---:|---:|---:|---|"]
    for kernel in sorted(_kernels(arch), key=lambda kernel: kernel.name):
        if not kernel.name.startswith("loss"):
            accesses = ", ".join(f"{n} {name}" for name, n in sorted(kernel.accesses().items()))
            cells = (kernel.name, kernel.registers, kernel.stack, kernel.instructions.total())
            lines.append(f"| {' | '.join(map(str, cells))} | {accesses} |")
    return lines


def _predictions(rows: list[Reading]) -> list[str]:
    lines = [
        f"| variant | {' | '.join(f'B = {batch}' for batch in BATCHES)} |",
        "|---|" + "---:|" * len(BATCHES),
    ]
    for row in rows:
        shares = [row.share_of_copy(batch) for batch in BATCHES]
        lines.append(f"| {row.name} | {' | '.join(f'{share:.0%}' for share in shares)} |")
    return lines


if __name__ == "__main__":
    command(main)
