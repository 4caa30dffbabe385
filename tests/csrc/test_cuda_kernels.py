"""The CUDA kernels of the loss, run on the CPU by tests/csrc/emulation: no GPU is needed."""

from __future__ import annotations

import ctypes
import itertools

import cuda_emulation
import numpy as np
import pytest
import torch
from cuda_emulation import Fault, guarded

from direct import noise
from direct.loss import reference
from direct.loss.reference import Inputs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(cuda_emulation.compiler() is None, reason="no C++ compiler"),
]

CHUNK = 8192
DRAWS = ("nothing", "negatives", "everything")
ALIGNED = (8, 2048, CHUNK, 2 * CHUNK + 2568)  # samples' elements; whole vectors of either type
ANY = (1, 7, 2047, CHUNK - 1, CHUNK + 3)
each_type = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)


@pytest.fixture(scope="module")
def cuda(tmp_path_factory):
    return cuda_emulation.build(tmp_path_factory.mktemp("cuda"))


def inputs(shape, dtype, draws, seed, **more) -> Inputs:
    """All four terms of random tensors; what `draws` names has no noise but a key."""
    generator = torch.Generator().manual_seed(seed)
    tensors = [torch.randn(shape, generator=generator).to(dtype) for _ in range(8)]
    key = noise.keys(seed, 3, range(shape[0]))
    scalars = (0.005, 0.02, 0.2, 50.0, -1.0, 1.0, False, True)
    p = Inputs(*tensors, key, None, *scalars)
    if draws != "nothing":
        p = p._replace(eps_rand=None, eps_hard=None)
    return p._replace(**({"eps": None} if draws == "everything" else {}) | more)


def placed(p: Inputs, seed: int, shift: int = 0, gap: int = 0) -> Inputs:
    """Every tensor between guard pages, at its upper or lower one by turns."""
    names = [name for name in Inputs._fields[:8] if getattr(p, name) is not None]
    return p._replace(
        **{
            name: guarded(getattr(p, name), (i + seed) % 2 == 0, gap, shift)
            for i, name in enumerate(names)
        }
    )


def run(cuda, p: Inputs, seed: int = 0):
    return cuda.loss(p, seed, lambda tensor: guarded(tensor, seed % 2 == 0))


def same(ours, theirs) -> bool:
    """Bit for bit, nan included."""
    return all(
        a.contiguous().view(torch.uint8).equal(b.contiguous().view(torch.uint8))
        for a, b in zip(ours, theirs, strict=True)
        if a.dim()
    ) and all(a.equal(b) for a, b in zip(ours, theirs, strict=True) if not a.dim())


def check(found, p: Inputs) -> None:
    """Against the specification in float64, with the tolerances of every backend's tests."""
    exact = p._replace(
        **{name: None if t is None else t.double() for name, t in list(p._asdict().items())[:8]}
    )
    loss, distances, alignment, nonfinite, gradient = reference.evaluate(exact)
    np.testing.assert_allclose(found[1], distances, rtol=2e-6, atol=1e-7)
    np.testing.assert_allclose(found[2], alignment, rtol=2e-6, atol=3e-6)
    np.testing.assert_allclose(found[0], loss, rtol=2e-6, atol=1e-6)
    assert found[3].equal(nonfinite)
    if p.need_gradient:
        rounding = torch.finfo(p.v.dtype).eps / 2
        slack = 1e-6 * np.abs(gradient.numpy()).max(initial=0)
        np.testing.assert_allclose(found[4].double(), gradient, rtol=1.01 * rounding, atol=slack)


def check_both(cuda, p: Inputs, seed: int) -> None:
    """With and without a gradient, in two orders of threads and blocks."""
    found = run(cuda, p, seed)
    check(found, p)
    silent = run(cuda, p._replace(need_gradient=False), seed + 1)
    assert same(found[:4], silent[:4]) and silent[4].numel() == 0


@each_type
@pytest.mark.parametrize("draws", DRAWS)
def test_whole_vectors(cuda, dtype, draws):
    for seed, elements in enumerate(ALIGNED):
        p = inputs((2, elements), dtype, draws, seed)
        check_both(cuda, placed(p, seed, gap=8 * (seed % 2)), seed)


@each_type
@pytest.mark.parametrize("draws", DRAWS)
def test_any_size_offset_and_stride(cuda, dtype, draws):
    for seed, elements in enumerate(ANY):
        p = inputs((2, elements), dtype, draws, seed)
        check_both(cuda, placed(p, seed, shift=seed % 3, gap=seed), seed)
    p = inputs((3, 2048), dtype, draws, 9)
    off = placed(p, 0, shift=1)
    assert same(run(cuda, placed(p, 1)), run(cuda, off)), "the sums' order is the size's alone"


@each_type
@pytest.mark.parametrize("elements", [512, 77])
def test_one_tensor_for_all_samples(cuda, dtype, elements):
    p = placed(inputs((3, elements), dtype, "negatives", 2), 2)
    check_both(cuda, p._replace(x=guarded(p.x[:1], True).expand(3, -1)), 2)


@each_type
def test_terms_weights_and_masks(cuda, dtype):
    """What is absent, given in part, replaced by its mean, weighted, above the threshold."""
    shape, weights = (3, 5, 24), torch.arange(12.0).reshape(3, 4) / 8
    changes = (
        {"x_rand": None, "eps_rand": None, "lambda_rand": 0.0, "weight": torch.tensor([0.5, 2, 0])},
        {"x_hard": None, "eps_hard": None, "lambda_hard": 0.0, "weight": weights},
        {"v_ref": None, "lambda_anc": 0.0, "threshold": 1.5},
        {"eps_hard": torch.ones(shape, dtype=dtype), "alpha_dot": -0.7, "sigma_dot": 1.3},
        {"eps_rand": None, "eps_hard": None, "marginal": True, "threshold": float("inf")},
    )
    for seed, (draws, change) in enumerate(itertools.product(DRAWS, changes)):
        check_both(cuda, placed(inputs(shape, dtype, draws, seed, **change), seed), seed)


@each_type
@pytest.mark.parametrize("elements", [4096, CHUNK + 5])
def test_what_is_not_finite_is_counted_and_masked(cuda, dtype, elements):
    for seed, place in enumerate((0, elements // 2, elements - 1)):
        p = inputs((2, elements), dtype, DRAWS[seed], seed)
        for i, tensor in enumerate(p[:8]):
            if tensor is not None:
                tensor[i % 2, (place + 37 * i) % elements] = (
                    torch.nan,
                    torch.inf,
                    -torch.inf,
                    1e30,
                )[(i + seed) % 4]
        p.v[1, place] = torch.nan
        check_both(cuda, placed(p, seed), seed)


@each_type
def test_empty_batches_and_samples(cuda, dtype):
    for shape in ((0, 16), (2, 0)):
        check(run(cuda, inputs(shape, dtype, "nothing", 0)), inputs(shape, dtype, "nothing", 0))


def test_order_of_threads_and_blocks_changes_no_bit(cuda):
    p = placed(inputs((3, CHUNK + 264), torch.bfloat16, "negatives", 1), 1)
    first = run(cuda, p, 0)
    assert all(same(run(cuda, p, seed), first) for seed in range(2, 7, 2))


@pytest.mark.parametrize("elements", [5, CHUNK + 1])
def test_noise_drawn_inside_is_the_noise_given(cuda, elements):
    p = inputs((2, elements), torch.float32, "everything", 4)
    drawn = [noise.draw(p.key, p.v.shape, term) for term in (noise.EPS, noise.RAND, noise.HARD)]
    given = p._replace(eps=drawn[0], eps_rand=drawn[1], eps_hard=drawn[2])
    assert same(run(cuda, p, 1), run(cuda, given, 2))


@each_type
@pytest.mark.parametrize("elements", [1, 7, 2048, 2057])
def test_scaling_the_gradient(cuda, dtype, elements):
    values = torch.randn(1, elements).to(dtype)
    aligned = guarded(values, elements % 8 == 0)
    for factor in (1.0, -0.3):
        gradient = guarded(values, elements % 8 == 0)
        cuda.scale(gradient, torch.tensor(factor), seed=elements)
        assert gradient.equal((values.float() * factor).to(dtype))
    assert aligned.equal(values)


# Faults written into the source: the text, what it becomes, and what the emulation must say. None:
# some orders of threads give a wrong result, others a fault.
MUTANTS = {
    "no barrier between the warps' sums and their total": (
        "  __syncthreads();\n  if (threadIdx.x == 0)\n#pragma unroll",
        "  if (!MUTANT) __syncthreads();\n  if (threadIdx.x == 0)\n#pragma unroll",
        None,
    ),
    "no barrier before all threads ask whether theirs is the last block": (
        "  __syncthreads();\n  return last;",
        "  if (!MUTANT) __syncthreads();\n  return last;",
        None,
    ),
    "a barrier that some threads go around": (
        "  block_sum(sums);\n  if (threadIdx.x == 0) {",
        "  if (!MUTANT || threadIdx.x < 192) block_sum(sums);\n  if (threadIdx.x == 0) {",
        "barrier",
    ),
    "a shuffle that half a warp goes around": (
        "value[s] += __shfl_down_sync(~0u, value[s], offset);",
        "if (!MUTANT || threadIdx.x & 16) value[s] += __shfl_down_sync(~0u, value[s], offset);",
        "meet|wait",
    ),
    "a ticket off by one": (
        "last = atomicAdd(ticket, 1u) + 1 == count;",
        "last = atomicAdd(ticket, 1u) + 1 + MUTANT == count;",
        None,
    ),
    "a ticket of samples off by one": (
        "if (atomicAdd(&tickets[p.batch], 1u) + 1 != unsigned(p.batch)) return;",
        "if (atomicAdd(&tickets[p.batch], 1u) + 1 + MUTANT != unsigned(p.batch)) return;",
        None,
    ),
    "tickets of samples beyond their end": (
        "if (atomicAdd(&tickets[p.batch], 1u)",
        "if (atomicAdd(&tickets[p.batch + MUTANT], 1u)",
        "outside of every tensor",
    ),
    "no fence before the ticket": (
        "    __threadfence();\n    last =",
        "    if (!MUTANT) __threadfence();\n    last =",
        None,
    ),
    "no fence before the ticket of samples": (
        "  __threadfence();\n  if (atomicAdd",
        "  if (!MUTANT) __threadfence();\n  if (atomicAdd",
        None,
    ),
    "every sample's chunks in the first one's place": (
        "reinterpret_cast<float4*>(partials) + (b * chunks + chunk) * 2",
        "reinterpret_cast<float4*>(partials) + (b * chunks * !MUTANT + chunk) * 2",
        None,
    ),
    "no wait for the copies into shared memory": (
        "      __pipeline_wait_prior(0);",
        "      if (!MUTANT) __pipeline_wait_prior(0);",
        None,
    ),
    "a wait that leaves the newest group out": (
        "__pipeline_wait_prior(0);",
        "__pipeline_wait_prior(MUTANT);",
        None,
    ),
    "copies of no group": (
        "    __pipeline_commit();",
        "    if (!MUTANT) __pipeline_commit();",
        None,
    ),
    "v's first copy in the group of the second pass": (
        "    if (thread * SIZE < length) copy(direct::V, thread * SIZE);\n"
        "    fetch(thread * SIZE);",
        "    if (!MUTANT && thread * SIZE < length) copy(direct::V, thread * SIZE);\n"
        "    fetch(thread * SIZE);\n"
        "    if (MUTANT && thread * SIZE < length) copy(direct::V, thread * SIZE);",
        None,
    ),
    "v copied a pass late, in a group that nobody waits for in time": (
        "    if (at + STEP < length) copy(direct::V, at + STEP);",
        "    if (MUTANT) copy(direct::V, at); else\n"
        "    if (at + STEP < length) copy(direct::V, at + STEP);",
        None,
    ),
    "v copied into the slot that is still to be read": (
        "at / STEP % V_SLOTS",
        "at / STEP % (V_SLOTS >> MUTANT)",
        None,
    ),
    "copies into a place that is still to be read": (
        "        if (reads<DRAWS>(i)) in[i] = slot(i, at);\n      fetch(next);",
        "        if (MUTANT && i == 1) fetch(next), in[i] = slot(i, at);\n"
        "        else if (reads<DRAWS>(i)) in[i] = slot(i, at);\n"
        "      if (!MUTANT) fetch(next);",
        None,
    ),
    "copies beyond the chunk": (
        "    if (at >= length) return;",
        "    if (at >= length + MUTANT) return;",
        "outside of every tensor",
    ),
    "copies of v beyond the chunk": (
        "if (at + STEP < length) copy",
        "if (at + STEP < length + MUTANT) copy",
        "outside of every tensor",
    ),
    "a loop that runs one vector too far": (
        "next = 0; at < length;",
        "next = 0; at < length + MUTANT;",
        "outside of every tensor",
    ),
    "vectors where rows are not on their boundary": (
        "  if (p.elements * size % 16) return false;",
        "  if (MUTANT) return true;\n  if (p.elements * size % 16) return false;",
        "not on their boundary",
    ),
}


@pytest.fixture(scope="module")
def mutants(tmp_path_factory):
    """One library with all faults, none of them active; two variants of the kernel suffice."""

    def change(text: str) -> str:
        for number, (old, new, _) in enumerate(MUTANTS.values(), 1):
            assert text.count(old) == 1, f"the source has changed: {old!r}"
            text = text.replace(old, new.replace("MUTANT", f"(emulated_mutant == {number})"))
        chosen = "kernel_for<uint16_t>(p, aligned) : kernel_for<float>(p, aligned)"
        assert chosen in text
        one = "kernel_for<float, NOTHING>(true, aligned)"
        return text.replace(chosen, f"{one} : {one}")

    return cuda_emulation.build(tmp_path_factory.mktemp("mutants"), change, ["-O0"])


def test_the_library_of_faults_is_right_without_one(mutants):
    for elements in (CHUNK, CHUNK + 1):
        check(
            found := run(
                mutants, p := placed(inputs((2, elements), torch.float32, "nothing", 0), 0)
            ),
            p,
        )
        assert found[4].isfinite().all()


@pytest.mark.parametrize("number, name", list(enumerate(MUTANTS, 1)))
def test_a_fault_is_noticed(mutants, number, name):
    said = MUTANTS[name][2]
    active = ctypes.c_int.in_dll(mutants.library, "emulated_mutant")
    active.value = number
    try:
        for seed, elements in itertools.product(range(64), (2 * CHUNK, 2 * CHUNK + 1)):
            p = placed(inputs((2, elements), torch.float32, "nothing", seed), seed)
            check(run(mutants, p, seed), p)
    except Fault as fault:
        assert any(word in str(fault) for word in (said or "").split("|")), fault
    except AssertionError:
        assert said is None, "the results are wrong, and the emulation should have said why"
    else:
        pytest.fail(f"nobody notices: {name}")
    finally:
        active.value = 0
