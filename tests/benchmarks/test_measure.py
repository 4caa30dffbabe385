"""Peak memory of a call, and the buffers of the limits."""

import ctypes
import itertools
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch

from benchmarks import cases, measure

MB = 1 << 20
PR_SET_THP_DISABLE = 41  # linux/prctl.h


@pytest.fixture(scope="module")
def process():
    """A process of its own, as a benchmark has: what other tests freed would be reused unseen."""
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawned, initializer=alone) as pool:
        yield pool


def alone():
    """One thread on one core, no huge pages: what a call takes beside its bytes is some KB then.

    A huge page is 2 MB, and Linux adds up late what each core counts of resident pages: where cores
    are many, megabytes of it.
    """
    torch.set_num_threads(1)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    assert ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0


def nothing(s):
    return None


def copy(s):
    return s["v"].clone()


def two_at_once(s):
    return s["v"].float() + 1


def peak_of(step):
    return measure.peak_extra_bytes(step, {"v": torch.ones(8 * MB, dtype=torch.bfloat16)})


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a resident peak")
@pytest.mark.parametrize(("step", "size"), [(nothing, 0), (copy, 16 * MB), (two_at_once, 64 * MB)])
def test_peak_of_a_call(process, step, size):
    assert process.submit(peak_of, step).result() == pytest.approx(size, abs=MB)


def peak_and_gradient(variant):
    s = cases.inputs((2, 16, 8, 60, 104), "cpu")
    peak = measure.peak_extra_bytes(cases.operator_alone("cpp", variant), s)
    return peak, 2 * s["v"].numel()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a resident peak")
@pytest.mark.parametrize("variant", cases.VARIANTS)
def test_the_loss_takes_its_gradient_and_less_than_a_megabyte(process, variant):
    peak, gradient = process.submit(peak_and_gradient, variant).result()
    assert peak == pytest.approx(gradient, abs=MB)


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
