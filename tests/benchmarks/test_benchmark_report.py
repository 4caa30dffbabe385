"""The table of the loss's benchmarks, from seconds that are known."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import cases, report

NAMES = ("limit: same streams", "eager fp32", "ours, cpp, op")


def run(limit: float, ours: float, peak: int | None = 5_000_000) -> list[dict]:
    """What one process finds; eager takes 40 s in all of them."""
    seconds = zip(NAMES, (limit, 40.0, ours), strict=True)
    return [
        {
            "shape": [1, 4],
            "noise": "given",
            "name": name,
            "bytes": 10**9,
            "peak_extra_bytes": peak,
            "seconds": taken,
        }
        for name, taken in seconds
    ]


def rows(*runs) -> dict[str, list[str]]:
    made = {"name": "a processor", "threads": 2, "torch": "2.13"}
    text = report.table({"machine": made, "command": "x", "rows": report.combined(list(runs))})
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    return {line[0]: line[1:] for line in cells if line and line[0] in NAMES}


def test_shares_are_those_within_a_process():
    """Of the medians, 2 s and 3 s, it would be 67 %."""
    found = rows(run(1.0, 2.0), run(3.0, 3.0), run(2.0, 8.0))
    assert found["ours, cpp, op"] == ["3000.000", "0.3", "50% (25% to 100%)", "13.3x", "5.0"]
    assert found["limit: same streams"][2] == "100%"


def test_one_process_has_no_spread_and_an_unknown_peak_is_left_out():
    found = rows(run(1.0, 2.0, peak=None))
    assert found["ours, cpp, op"] == ["2000.000", "0.5", "50%", "20.0x", ""]


def test_the_better_compiled_form_is_that_of_each_process():
    """2, 3 and 4 times in the three; by the medians of either form it would be 4 times."""
    seconds = {
        "compiled autograd": (2.0, 9.0, 4.0),
        "compiled by hand": (5.0, 3.0, 6.0),
        "ours, cpp, op": (1.0, 1.0, 1.0),
    }
    found = report._against_compiled({name: list(times) for name, times in seconds.items()})
    assert found == ["The better compiled form takes 3.00 times as long as ours, cpp, op.", ""]
    assert report._against_compiled({"ours, cpp, op": [1.0], "eager fp32": [2.0]}) == []


def test_the_operator_alone_is_the_loss():
    for variant in cases.VARIANTS:
        s = cases.inputs((2, 4, 3, 5), "cpu")
        loss, *_, gradient = cases.operator_alone("cpp", variant)(s)
        v = s["v"].clone().requires_grad_()
        wanted = cases.ours("cpp", variant == "drawn")(v, s)
        assert torch.equal(loss, wanted.detach())
        assert torch.equal(gradient, torch.autograd.grad(wanted, v)[0])


@pytest.mark.slow
def test_a_person_s_command_finds_the_benchmarks():
    """`python -m pytest benchmarks`, which the suite does not run: every shape, noise and name."""
    command = [sys.executable, "-m", "pytest", "benchmarks", "--collect-only", "-q"]
    done = subprocess.run(
        command,
        cwd=Path(__file__).parents[2],
        text=True,
        capture_output=True,
        env=os.environ | {"BENCHMARK_BATCHES": "1,2"},
    )
    assert done.returncode == 0, done.stdout
    named = len(cases.implementations("cpu", "given")) + 2  # and two limits
    assert done.stdout.count("test_loss_and_backward[") == 3 * len(cases.VARIANTS) * named
