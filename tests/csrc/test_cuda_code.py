"""The installed library's CUDA kernels, as compiled for sm_90 and sm_100."""

from functools import cache

import pytest

from benchmarks.machine_code import read
from direct import extension
from direct.loss import machine_code

pytestmark = pytest.mark.skipif(
    not extension.HAS_CUDA or machine_code.cuobjdump() is None,
    reason="the extension was built without nvcc, or there is no cuobjdump",
)


read_library = cache(machine_code.kernels)


@pytest.fixture(params=["sm_90", "sm_100"])
def arch(request):
    return request.param


@pytest.fixture
def kernels(arch):
    found = read_library(extension.PATH, arch)
    if not found:
        pytest.skip(f"the extension was built without {arch}")
    return {kernel.name: kernel for kernel in found}


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
    silent = kernels[f"loss: {kind}, draws {draws}, no gradient, aligned"]
    # v, x, eps where it is not drawn, two negatives, their noises, the reference
    inputs = 7 if draws == "everything" else 8
    for one in (kernel, silent):
        # Before the loop, where v is copied for two passes, and in it.
        assert one.instructions["LDGSTS.E.BYPASS.128"] == inputs + 1 + inputs
        assert read(one).loads == inputs
        # What else touches memory: keys and weights (32 or 64 bits), the sums of the chunks.
        assert not any("U16" in name or "U8" in name for name in one.accesses())
    accesses = kernel.accesses()["STG.E.128"], silent.accesses().get("STG.E.128", 0)
    assert accesses[0] - accesses[1] == 1  # the gradient, which may stay


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


def test_three_blocks_fit_on_an_sm(kernels):
    """In 65536 registers and 228 KB of shared memory: the paper's sample is one wave then."""
    for name, kernel in kernels.items():
        if name.startswith("loss") and name.endswith(", aligned"):
            assert kernel.registers <= 80 and kernel.shared > 44 * 1024, name
            assert read(kernel).blocks == 3, name


def test_what_is_under_way_hides_the_latency(kernels):
    """64 KB on an SM, and each copy asked for most of a pass before its wait, v's a pass more.

    benchmarks/results/machine_code.md has the figures.
    """
    for name, kernel in kernels.items():
        if name.startswith("loss") and name.endswith(", aligned"):
            reading = read(kernel)
            assert reading.spilled == 0 and reading.in_flight >= 64 * 1024, name
            *others, v = sorted(reading.ahead)
            assert min(others) >= 0.6 * reading.loop and v >= 1.6 * reading.loop, name
            if "bf16" in name and "draws nothing" not in name:
                assert min(others) >= 300, name


def test_noise_is_cheap_enough_to_hide(kernels, arch):
    """At 14 bytes an element an H100's memory leaves time for about 134 instructions on it."""
    drawing, plain = (
        read(kernels[f"loss: bf16, draws {what}, gradient, aligned"]).loop
        for what in ("negatives", "nothing")
    )
    assert (drawing - plain) / 16 < {"sm_90": 34, "sm_100": 28}[arch]


@pytest.mark.parametrize("arch", ["sm_100"])
def test_two_floats_are_computed_at_a_time(kernels):
    drawing = kernels["loss: bf16, draws negatives, gradient, aligned"].instructions
    # Of 4 counter blocks: 21 fused and 8 other products each; and the loss's own.
    assert drawing["FFMA2"] >= 4 * 21 and drawing["FMUL2"] >= 4 * 8
