"""Peak memory of a call, and the buffers of the limits."""

import itertools
import sys

import pytest
import torch

from benchmarks import cases, measure

MB = 1 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a resident peak")
@pytest.mark.parametrize(
    ("step", "size"),
    [
        (lambda s: None, 0),
        (lambda s: s["v"].clone(), 16 * MB),
        (lambda s: s["v"].float() + 1, 64 * MB),  # both float32 tensors at once
    ],
    ids=["nothing", "copy", "two at once"],
)
def test_peak_of_a_call(step, size):
    s = {"v": torch.ones(8 * MB, dtype=torch.bfloat16)}
    assert measure.peak_extra_bytes(step, s) == pytest.approx(size, abs=MB)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a resident peak")
@pytest.mark.parametrize("variant", cases.VARIANTS)
def test_the_loss_takes_its_gradient_and_less_than_a_megabyte(variant):
    s = cases.inputs((2, 16, 8, 60, 104), "cpu")
    peak = measure.peak_extra_bytes(cases.operator_alone("cpp", variant), s)
    assert peak == pytest.approx(2 * s["v"].numel(), abs=MB)


def test_the_copy_of_the_limits_rotates_its_buffers():
    copy = cases.limits("cpu", (1, 4, 4), "given", sets=3)["limit: copy"]
    targets = [copy({}).data_ptr() for _ in range(6)]
    assert len(set(targets)) == 3 and targets[:3] == targets[3:]


def test_implementations_take_turns_and_warm_up_untimed():
    calls = []
    steps = {name: lambda s, name=name: calls.append((name, s["n"])) for name in ("a", "b")}
    sets = [{"v": torch.zeros(1), "n": n} for n in range(3)]
    times = measure.seconds(steps, sets, budget=0.0)
    order = [name for name, _ in itertools.groupby(name for name, _ in calls)]
    assert order == ["a", "b"] * measure.TURNS
    timed = 2 * measure.TURNS
    assert [len(found) for found in times.values()] == [timed, timed]
    assert len(calls) == 2 * (timed + 2 * measure.TURNS), "two calls before each turn's"
    assert {n for _, n in calls} == {0, 1, 2}, "on every input set"
