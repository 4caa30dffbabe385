"""How fast a streaming kernel would be, from its machine code: a queueing model of one GPU.

`ASSUMPTIONS` says what it takes for granted; it is printed beside what is predicted.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping

Step = tuple[
    str, float, int
]  # (issue, cycles, -), (load, bytes, its id), (wait, -, id), (store, bytes, -)
Program = tuple[Step, ...]

SMS, CLOCK, BANDWIDTH, LATENCY = 132, 1.755e9, 3.0e12, 620  # an H100; latency in cycles
SIMULATED = 11  # SMs, with their share of the bandwidth: a twelfth of the GPU
WARPS, SCHEDULERS, AROUND = 8, 4, 1500

ASSUMPTIONS = f"""\
## Predicted share of a plain copy on an H100

The share is the time at which a plain copy would move the same bytes, over the modelled time.
`benchmarks/throughput.py` simulates warps that wait for loads and for their scheduler. It assumes:

- {SMS} SMs at {CLOCK / 1e9} GHz, of which {SIMULATED} are simulated with their share of the memory;
- a memory that serves {BANDWIDTH / 1e12} TB/s, what a copy reaches, in the order of requests,
  and answers {LATENCY} cycles after that; stores take their bytes and nobody waits for them;
- {SCHEDULERS} schedulers an SM, each with a quarter of the warps; who is ready first issues until
  it waits;
- one instruction a cycle and scheduler; integer instructions take two cycles of their unit, special
  functions eight; arithmetic never waits for arithmetic, which flatters the drawing variants;
- all four terms; which loads are left out cannot be told from a listing, so each counts in part;
- {AROUND} cycles for what a block does before and after its loop; the launch itself is left out.

Nothing of this is measured. Trust the order of two variants, not a few percent."""

INTEGER = (
    "IADD",
    "IMAD",
    "LOP",
    "SHF",
    "LEA",
    "ISETP",
    "FSETP",
    "FSEL",
    "SEL",
    "PRMT",
    "VIADD",
    "I2F",
    "F2F",
)
SPECIAL = ("MUFU",)


def issue_cycles(names: Iterable[str]) -> float:
    """Cycles in which a scheduler can issue these instructions: its slots, or the busiest unit."""
    units = Counter(_unit(name) for name in names)
    return max(sum(units.values()), 2 * units["alu"], 2 * units["multiply"], 8 * units["special"])


def _unit(name: str) -> str:
    if name.startswith("IMAD") and ".MOV" not in name:
        return "multiply"
    if name.startswith(SPECIAL):
        return "special"
    return "alu" if name.startswith(INTEGER) else "other"


def unrolled(program: Program, passes: int, ahead: Mapping[int, int]) -> Program:
    """`passes` times `program`, each load under an id of its own.

    A pass loads what one `ahead[its id]` passes later waits for; the first ones' loads come before.
    """
    loads = [step for step in program if step[0] == "load"]
    early = [
        (kind, amount, load * passes + n)
        for n in range(passes)
        for kind, amount, load in loads
        if n < ahead[load]
    ]
    steps = [
        (kind, amount, load * passes + n + (ahead[load] if kind == "load" else 0))
        for n in range(passes)
        for kind, amount, load in program
        if kind != "load" or n + ahead[load] < passes
    ]
    return (*early, *steps)


def share_of_copy(program: Program, resident: int, blocks: int) -> float:
    """`blocks` of WARPS warps run `program` once each, `resident` blocks at once on an SM."""
    count = -(-blocks * SIMULATED // SMS)
    per_cycle = BANDWIDTH / CLOCK * SIMULATED / SMS
    moved = count * WARPS * sum(size for kind, size, _ in program if kind != "issue")
    return moved / per_cycle / simulate(program, resident, count, per_cycle)


def simulate(program: Program, resident: int, blocks: int, per_cycle: float) -> float:
    """Cycles until the last block has ended."""
    free = [0.0] * (SIMULATED * SCHEDULERS)  # when each scheduler is
    memory, last, started = 0.0, 0.0, 0
    unfinished: dict[int, int] = {}
    events: list[tuple[float, int, int, int, int]] = []  # (time, block, warp, SM, step)
    answers: dict[tuple[int, int, int], float] = {}

    def start(time: float, sm: int) -> None:
        nonlocal started
        if started < blocks:
            for warp in range(WARPS):
                heapq.heappush(events, (time + AROUND / 2, started, warp, sm, 0))
            unfinished[started] = WARPS
            started += 1

    for slot in range(SIMULATED * resident):
        start(0.0, slot % SIMULATED)
    while events:
        time, block, warp, sm, step = heapq.heappop(events)
        if step == len(program):
            unfinished[block] -= 1
            if not unfinished[block]:
                last = max(last, time + AROUND / 2)
                start(time + AROUND / 2, sm)
            continue
        kind, amount, load = program[step]
        if kind == "issue":
            scheduler = sm * SCHEDULERS + (block * WARPS + warp) % SCHEDULERS
            time = free[scheduler] = max(time, free[scheduler]) + amount
        elif kind == "wait":
            time = max(time, answers.get((block, warp, load), 0.0))
        else:
            memory = max(memory, time) + amount / per_cycle
            answers[block, warp, load] = memory + LATENCY
        heapq.heappush(events, (time, block, warp, sm, step + 1))
    return last
