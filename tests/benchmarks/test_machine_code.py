"""What is read from a listing, and what the model makes of programs whose speed is known."""

from __future__ import annotations

import pytest

from benchmarks import machine_code, throughput
from direct.common.errors import UserError
from direct.loss.machine_code import Instruction, Kernel

TEXT = (
    ("MOV", "R1, c[0x0][0x28]"),
    ("LDG.E.EF.128", "R4, desc[UR8][R2.64]"),  # the loop begins here, at 0x10
    ("LDG.E.EF.128", "R8, desc[UR8][R2.64+0x10]"),
    ("IMAD.WIDE.U32", "R20, R21, R22, RZ"),
    ("FADD", "R4, R30, R31"),  # writes the first load's register: no use
    ("FADD", "R30, R7, R31"),  # reads its last one
    ("STG.E.EF.128", "desc[UR8][R2.64], R8"),
    ("BRA", "0x10"),
    ("EXIT", ""),
)
KERNEL = Kernel(
    "loss: bf16, draws nothing, gradient, aligned",
    64,
    0,
    tuple(Instruction(16 * i, name, operands) for i, (name, operands) in enumerate(TEXT)),
)


def test_loads_and_their_first_uses():
    reading = machine_code.read(KERNEL)
    assert (reading.loop, reading.loads, reading.ahead) == (7, 2, (4, 4))
    assert reading.blocks == 4 and reading.in_flight == 4 * 256 * 16 * 8
    kinds = [kind for kind, _, _ in reading.program]
    assert " ".join(kinds) == "load issue load issue wait issue wait store issue"


def test_a_use_in_the_next_pass_counts_around_the_loop():
    body = machine_code.loop(KERNEL)
    turned = (*body[5:], *body[:5])  # the store of R8 comes before its load
    at = [one.operands[:2] for one in turned].index("R8")
    assert machine_code.first_use(turned, at) == 4


def reading_of(code):
    listing = tuple(Instruction(16 * i, *one) for i, one in enumerate(code))
    return machine_code.read(Kernel(KERNEL.name, 64, 0, listing))


COPIES = (  # one input a pass ahead
    ("LDGSTS.E.BYPASS.128", "[R3], desc[UR8][R2.64]"),  # before the loop: the first pass's
    ("LDGDEPBAR", ""),
    ("DEPBAR.LE", "SB0, 0x0"),  # the loop begins here, at 0x20
    ("LDS.128", "R4, [R3]"),
    ("LDGSTS.E.BYPASS.128", "[R3], desc[UR8][R2.64]"),
    ("LDGDEPBAR", ""),
    ("FADD", "R30, R7, R31"),
    ("STG.E.128", "desc[UR8][R2.64], R4"),
    ("BRA", "0x20"),
)


def test_a_copy_into_shared_memory_is_used_by_who_waits_for_it():
    reading = reading_of(COPIES)
    assert (reading.loop, reading.loads, reading.ahead) == (7, 1, (5,))
    assert reading.passes_ahead == {2: 1} and reading.in_flight == 4 * 256 * 16 * 8
    kinds = [kind for kind, _, _ in throughput.unrolled(reading.program, 2, {2: 1})]
    first, second = "load wait issue load issue store issue", "wait issue issue store issue"
    assert " ".join(kinds) == f"{first} {second}"


STAGES = (  # a second input, two passes ahead: the wait leaves its newest copy out
    ("DEPBAR.LE", "SB0, 0x1"),
    ("LDGSTS.E.BYPASS.128", "[R3], desc[UR8][R2.64]"),
    ("LDGDEPBAR", ""),
    ("LDGSTS.E.BYPASS.128", "[R4], desc[UR8][R2.64]"),
    ("LDGDEPBAR", ""),
    ("FADD", "R30, R7, R31"),
    ("BRA", "0x0"),
)


def test_a_wait_may_leave_the_newest_copies_out():
    reading = reading_of(STAGES)
    assert reading.ahead == (6, 11) and reading.passes_ahead == {1: 1, 3: 2}
    # Of eight inputs, of which these two stand for four each: one's copy and the other's two.
    assert reading.in_flight == 4 * 256 * 16 * 3 * 4
    steps = throughput.unrolled(reading.program, 3, reading.passes_ahead)
    moves = [f"{kind} {load}" for kind, _, load in steps if kind != "issue"]
    assert moves == [
        *("load 3", "load 9", "load 10"),
        *("wait 3", "wait 9", "load 4", "load 11"),
        *("wait 4", "wait 10", "load 5"),
        *("wait 5", "wait 11"),
    ]


def test_a_kernel_without_a_loop_is_refused():
    with pytest.raises(UserError, match="no loop with 16-byte loads in loss: x"):
        machine_code.loop(Kernel("loss: x", 1, 0, KERNEL.listing[-1:]))


@pytest.mark.parametrize(
    "registers, blocks", [(64, 4), (65, 3), (80, 3), (81, 2), (128, 2), (129, 1), (32, 8)]
)
def test_blocks_that_fit(registers, blocks):
    assert machine_code.blocks_per_sm(registers, 0) == blocks
    assert machine_code.blocks_per_sm(registers, 76 * 1024) == min(blocks, 3)
    assert machine_code.blocks_per_sm(registers, 76 * 1024 + 1) == min(blocks, 2)


def test_issue_is_bound_by_slots_or_by_a_unit():
    assert throughput.issue_cycles(["FFMA"] * 10) == 10
    assert throughput.issue_cycles(["LOP3.LUT"] * 6 + ["FFMA"] * 2) == 12
    assert throughput.issue_cycles(["LOP3.LUT", "IMAD.WIDE.U32", "FFMA", "FFMA"]) == 4
    assert throughput.issue_cycles(["MUFU.RSQ"]) == 8


def test_the_model_knows_its_limits():
    loads = tuple(("load", 512.0, i) for i in range(8))
    waits = tuple(("wait", 0.0, i) for i in range(8))
    assert 0.8 < throughput.share_of_copy((*loads, *waits) * 3, 3, 256 * 4) <= 1
    # One load at a time: an SM's eight warps get 512 bytes each in 620 cycles, of 12.95 a cycle.
    one = (*loads[:1], *waits[:1])
    slow = 8 * 512 / 620 / 12.95
    assert throughput.share_of_copy(one * 60, 1, 132) == pytest.approx(slow, rel=0.1)
    # Two of eight warps on a scheduler, and each pass issues for 1000 cycles.
    busy = (*loads, *waits, ("issue", 1000.0, 0))
    bound = 8 * 4096 / 2000 / 12.95
    assert throughput.share_of_copy(busy * 30, 1, 132) == pytest.approx(min(bound, 1), rel=0.2)
