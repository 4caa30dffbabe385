"""The installed library's CUDA kernels, as compiled for sm_90: no spills, 128-bit accesses."""

import pytest

from benchmarks.machine_code import read
from direct import extension
from direct.loss import machine_code

pytestmark = pytest.mark.skipif(
    not extension.HAS_CUDA or machine_code.cuobjdump() is None,
    reason="the extension was built without nvcc, or there is no cuobjdump",
)


@pytest.fixture(scope="module")
def kernels():
    return {kernel.name: kernel for kernel in machine_code.kernels(extension.PATH)}


def test_every_variant_is_there(kernels):
    assert sum(name.startswith("loss") for name in kernels) == 2 * 3 * 2 * 2


def test_no_kernel_spills(kernels):
    for kernel in kernels.values():
        assert kernel.stack == 0, kernel.name
        assert not any(name.startswith(("LDL", "STL")) for name in kernel.accesses()), kernel.name


@pytest.mark.parametrize("draws", ["nothing", "negatives", "everything"])
@pytest.mark.parametrize("kind", ["bf16", "fp32"])
def test_each_input_is_read_once_with_128_bits(kernels, kind, draws):
    kernel = kernels[f"loss: {kind}, draws {draws}, gradient, aligned"]
    accesses = kernel.accesses()
    # v, x, eps, two negatives, their noises, the reference: before the loop and in it
    assert kernel.instructions["LDGSTS.E.BYPASS.128"] == 2 * 8
    assert read(kernel).loads == 8
    silent_kernel = kernels[f"loss: {kind}, draws {draws}, no gradient, aligned"]
    silent = silent_kernel.accesses()
    assert silent_kernel.instructions["LDGSTS.E.BYPASS.128"] == 2 * 8
    assert accesses["STG.E.128"] - silent.get("STG.E.128", 0) == 1  # the gradient, which may stay
    # What else touches memory: keys and weights (32 or 64 bits), the sums of the chunks.
    assert not any("U16" in name or "U8" in name for name in accesses)


@pytest.mark.parametrize("kind", ["bf16", "fp32"])
@pytest.mark.parametrize("gradient", ["gradient", "no gradient"])
def test_targets_are_read_once_with_128_bits_by_four_blocks_an_sm(kernels, kind, gradient):
    kernel = kernels[f"targets: {kind}, {gradient}, aligned"]
    accesses, vectors = kernel.accesses(), {"bf16": 2, "fp32": 4}[kind]  # 16 elements a thread
    assert accesses["LDG.E.EF.128"] == 2 * vectors  # v once, and a target in the loop
    assert accesses.get("STG.E.128", 0) == vectors * (gradient == "gradient")
    assert not any("U16" in name or "U8" in name for name in accesses)
    assert kernel.registers <= 64


@pytest.mark.parametrize("kind", ["bf16", "fp32"])
def test_noise_and_path_are_written_with_128_bits(kernels, kind):
    accesses = kernels[f"normal: {kind}, aligned"].accesses()
    assert accesses["LDG.E.EF.128"] == accesses["STG.E.128"] == 1  # x, and x_t or the noise
    assert not any("U16" in name for name in accesses)
    scaled = kernels[f"scale: {kind}"].accesses()
    assert scaled["LDG.E.EF.128"] == scaled["STG.E.128"] == 1


def test_registers_leave_room_for_three_blocks(kernels):
    """65536 registers, 256 threads a block: with three blocks the paper's sample is one wave."""
    for name, kernel in kernels.items():
        if name.startswith("loss") and name.endswith(", aligned"):
            assert kernel.registers <= 80, name


def test_loads_under_way_do_not_get_fewer(kernels):
    """What hides the memory's latency; benchmarks/results/machine_code.md has the figures."""
    for name, kernel in kernels.items():
        if name.startswith("loss") and name.endswith(", aligned"):
            reading = read(kernel)
            assert reading.loads == 8 and reading.spilled == 0, name
            assert reading.asynchronous and reading.in_flight >= 60 * 1024, name
            if "bf16" in name and "draws nothing" not in name:
                assert min(reading.ahead) >= 300, name


def test_noise_is_cheap_enough_to_hide(kernels):
    """At 14 bytes an element an H100's memory leaves time for about 134 instructions on it."""
    assert instructions_a_normal(kernels) < 34


def test_sm_100_computes_two_floats_at_a_time():
    kernels = {kernel.name: kernel for kernel in machine_code.kernels(extension.PATH, "sm_100")}
    if not kernels:
        pytest.skip("the extension was built without sm_100")
    drawing = kernels["loss: bf16, draws negatives, gradient, aligned"].instructions
    # Of 4 counter blocks: 21 fused and 8 other products each; and the loss's own.
    assert drawing["FFMA2"] >= 4 * 21 and drawing["FMUL2"] >= 4 * 8
    assert instructions_a_normal(kernels) < 28


def instructions_a_normal(kernels):
    drawing, plain = (
        read(kernels[f"loss: bf16, draws {what}, gradient, aligned"]).loop
        for what in ("negatives", "nothing")
    )
    return (drawing - plain) / 16
