"""Peak memory of a call, and the buffers of the limits."""

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
