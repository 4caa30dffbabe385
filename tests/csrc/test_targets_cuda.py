"""The CUDA kernels of K targets, run on the CPU by tests/csrc/emulation: no GPU is needed."""

from __future__ import annotations

import ctypes
import itertools

import cuda_emulation
import numpy as np
import pytest
import torch
from cuda_emulation import Fault, guarded

from direct.loss import reference
from direct.loss.reference import TargetInputs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(cuda_emulation.compiler() is None, reason="no C++ compiler"),
]

CHUNK = 4096
each_type = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)


@pytest.fixture(scope="module")
def cuda(tmp_path_factory):
    return cuda_emulation.build(tmp_path_factory.mktemp("targets"), kernels="targets_cuda.cu")


def inputs(shape, count, dtype, seed=0, **more) -> TargetInputs:
    generator = torch.Generator().manual_seed(seed)
    v, *targets = (torch.randn(shape, generator=generator).to(dtype) for _ in range(count + 1))
    coefficients = [0.4 - 0.15 * k for k in range(count)]
    return TargetInputs(v, targets, coefficients, None, 50.0, True)._replace(**more)


def placed(p: TargetInputs, seed: int, shift: int = 0, gap: int = 0) -> TargetInputs:
    """Every tensor between guard pages, at its upper or lower one by turns."""
    v, *targets = (guarded(t, (i + seed) % 2 == 0, gap, shift) for i, t in enumerate(p[1], 1))
    return p._replace(v=guarded(p.v, seed % 2 == 0, gap, shift), targets=[v, *targets])


def run(cuda, p: TargetInputs, seed: int = 0):
    return cuda.targets(p, seed, lambda tensor: guarded(tensor, seed % 2 == 0))


def same(ours, theirs) -> bool:
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def check(found, p: TargetInputs) -> None:
    """Against the specification in float64, with the tolerances of every backend's tests."""
    exact = p._replace(v=p.v.double(), targets=[u.double() for u in p.targets])
    loss, distances, gradient = reference.evaluate_targets(exact)
    np.testing.assert_allclose(found[1], distances, rtol=2e-6, atol=1e-7)
    np.testing.assert_allclose(found[0], loss, rtol=2e-6, atol=1e-6)
    rounding = torch.finfo(p.v.dtype).eps / 2
    slack = 1e-6 * np.abs(gradient.numpy()).max(initial=0)
    np.testing.assert_allclose(found[2].double(), gradient, rtol=1.01 * rounding, atol=slack)


def check_both(cuda, p: TargetInputs, seed: int) -> None:
    """With and without a gradient, in two orders of threads and blocks."""
    found = run(cuda, p, seed)
    check(found, p)
    silent = run(cuda, p._replace(need_gradient=False), seed + 1)
    assert same(found[:2], silent[:2]) and silent[2].numel() == 0


@each_type
@pytest.mark.parametrize("count", [1, 2, 9, 64])
def test_whole_vectors(cuda, dtype, count):
    for seed, elements in enumerate((8, CHUNK, CHUNK + 2568)):
        p = inputs((2, elements), count, dtype, seed)
        check_both(cuda, placed(p, seed, gap=8 * (seed % 2)), seed)


@each_type
@pytest.mark.parametrize("count", [1, 5])
def test_any_size_offset_and_stride(cuda, dtype, count):
    for seed, elements in enumerate((1, 7, 2047, CHUNK - 1, CHUNK + 3)):
        p = inputs((2, elements), count, dtype, seed)
        check_both(cuda, placed(p, seed, shift=seed % 3, gap=seed), seed)
    p = inputs((3, 2048), count, dtype, 9)
    off = placed(p, 0, shift=1)
    assert same(run(cuda, placed(p, 1)), run(cuda, off)), "the sums' order is the size's alone"


@each_type
def test_weights_thresholds_and_what_is_not_finite(cuda, dtype):
    each = torch.arange(9.0).reshape(3, 3) / 4
    changes = (
        {"weight": torch.tensor([0.5, 2, 0])},
        {"weight": each, "threshold": 1.5},
        {"coefficients": [0.3, 0.0, -2.0], "threshold": float("inf")},
    )
    for seed, (elements, change) in enumerate(itertools.product((120, CHUNK + 5), changes)):
        p = inputs((3, elements), 3, dtype, seed, **change)
        if p.threshold < torch.inf:
            p.v[1, elements // 2] = torch.nan
            p.targets[seed % 3][2, -1] = (torch.nan, torch.inf, -torch.inf)[seed % 3]
        check_both(cuda, placed(p, seed), seed)


@each_type
def test_one_tensor_for_all_samples(cuda, dtype):
    p = placed(inputs((3, 512), 2, dtype), 0)
    check_both(cuda, p._replace(targets=[p.targets[0], p.targets[1][:1].expand(3, -1)]), 1)


def test_empty_batches_and_samples(cuda):
    for shape in ((0, 16), (2, 0)):
        loss, distances, gradient = run(cuda, inputs(shape, 3, torch.float32))
        assert loss == 0 and distances.equal(torch.zeros(shape[0], 3)) and gradient.shape == shape


def test_order_of_threads_and_blocks_changes_no_bit(cuda):
    p = placed(inputs((3, CHUNK + 264), 3, torch.bfloat16), 1)
    first = run(cuda, p, 0)
    assert all(same(run(cuda, p, seed), first) for seed in range(2, 7, 2))


# Faults written into the source: the text, what it becomes, and what the emulation must say. None:
# some orders of threads give a wrong result, others a fault.
MUTANTS = {
    "no barrier between the warps' sums and their total": (
        "  __syncthreads();\n  if (int(threadIdx.x) >= p.count) return;",
        "  if (!MUTANT) __syncthreads();\n  if (int(threadIdx.x) >= p.count) return;",
        None,
    ),
    "no barrier between the shares and the loss": (
        "  __syncthreads();\n  if (threadIdx.x != 0) return;",
        "  if (!MUTANT) __syncthreads();\n  if (threadIdx.x != 0) return;",
        None,
    ),
    "every target's chunks in the first one's place": (
        "(b * p.count + threadIdx.x) * chunks",
        "(b * p.count + threadIdx.x * !MUTANT) * chunks",
        None,
    ),
    "one target too many": (
        "k < p.count; ++k) {\n    load_all",
        "k < p.count + MUTANT; ++k) {\n    load_all",
        "outside of every tensor",
    ),
    "loads beyond the chunk": (
        "if (at < length) load<",
        "if (at < length + SIZE * MUTANT) load<",
        "outside of every tensor",
    ),
    "a gradient beyond its end": (
        "if (at < length) store<",
        "if (at < length + SIZE * MUTANT) store<",
        "outside of every tensor",
    ),
    "vectors where rows are not on their boundary": (
        "  if (p.elements * size % 16) return false;",
        "  if (MUTANT) return true;\n  if (p.elements * size % 16) return false;",
        "not on their boundary",
    ),
    "a shuffle that half a warp goes around": (
        "sum += __shfl_down_sync(~0u, sum, offset);\n    if (threadIdx.x",
        "if (!MUTANT || threadIdx.x & 16) sum += __shfl_down_sync(~0u, sum, offset);\n"
        "    if (threadIdx.x",
        "meet|wait",
    ),
}


@pytest.fixture(scope="module")
def mutants(tmp_path_factory):
    """One library with all faults, none of them active."""

    def change(text: str) -> str:
        for number, (old, new, _) in enumerate(MUTANTS.values(), 1):
            assert text.count(old) == 1, f"the source has changed: {old!r}"
            text = text.replace(old, new.replace("MUTANT", f"(emulated_mutant == {number})"))
        return text

    folder = tmp_path_factory.mktemp("mutants")
    return cuda_emulation.build(folder, change, ["-O0"], "targets_cuda.cu")


@pytest.mark.parametrize("number, name", list(enumerate([None, *MUTANTS])))
def test_a_fault_is_noticed_and_nothing_without_one(mutants, number, name):
    said = MUTANTS[name][2] if name else None
    active = ctypes.c_int.in_dll(mutants.library, "emulated_mutant")
    active.value = number
    try:
        for seed, elements in itertools.product(range(8 if name else 1), (2048, CHUNK + 1)):
            p = placed(inputs((2, elements), 2, torch.float32, seed), seed)
            check(run(mutants, p, seed), p)
    except Fault as fault:
        assert any(word in str(fault) for word in (said or "").split("|")), fault
    except AssertionError:
        assert name and said is None, "the emulation should have said why the results are wrong"
    else:
        assert name is None, f"nobody notices: {name}"
    finally:
        active.value = 0
