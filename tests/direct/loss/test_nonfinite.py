"""What is not finite in v, counted as Python counts it on every backend; the guard made of it."""

from __future__ import annotations

import math
from importlib.util import find_spec

import pytest
import torch

from direct import extension, noise, velocity_loss

from .oracle import case

BAD = (math.nan, math.inf, -math.inf)
# The interpreter's own arithmetic on them, in NumPy.
pytestmark = pytest.mark.filterwarnings(
    "ignore::RuntimeWarning:triton", "ignore::RuntimeWarning:numpy"
)
KERNELS = ("portable", "avx2", "avx512")
THRESHOLDS = (math.inf, 50.0, 1e-3, 1e-30, 1e25)


@pytest.fixture(params=["eager", *KERNELS, pytest.param("triton", marks=pytest.mark.slow)])
def backend(request):
    """A backend's name; the CPU kernels' once per instruction set."""
    if request.param == "triton" and (find_spec("triton") is None or torch.cuda.is_available()):
        pytest.skip("no Triton, or not its interpreter")
    if request.param not in KERNELS:
        yield request.param
        return
    if extension.MISSING is not None:
        pytest.skip(extension.MISSING)
    before = torch.ops.direct.instruction_set("")
    if torch.ops.direct.instruction_set(request.param) != request.param:
        pytest.skip(f"this processor has no {request.param}")
    yield "cpp"
    torch.ops.direct.instruction_set(before)


def counted(v) -> list[int]:
    return [sum(not math.isfinite(x) for x in row) for row in v.double().flatten(1).tolist()]


def spoil(tensor, share: float, seed: int) -> None:
    """Puts nan and infinities at random places."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.rand(tensor.shape, generator=generator) < share
    values = torch.tensor(BAD)[torch.randint(3, tensor.shape, generator=generator)]
    tensor[places] = values[places].to(tensor.dtype)


@pytest.mark.parametrize("threshold", [math.inf, 50.0, 1e-3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_of_a_sample_wherever_it_lies(backend, dtype, threshold):
    """Alone, so that nothing else makes a kernel look closer; the last has none."""
    n = 16_384 + 133 if backend != "triton" else 8192 + 133
    places = [0, 1, 3, 15, 16, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 8191, 8192, n - 2, n - 1]
    (v, x, eps), _ = case((len(places) + 1, n), dtype, terms=())
    for sample, place in enumerate(places):
        v[sample, place] = BAD[sample % 3]
    out = velocity_loss(v, x, eps, threshold=threshold, backend=backend)
    assert out.nonfinite.dtype == torch.int64
    assert out.nonfinite.tolist() == counted(v) == [1] * len(places) + [0]


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (2, 4, 3, 6, 8), (5, 129), (2, 16_421)], ids=str)
def test_many_in_v_and_in_all_else(backend, shape, dtype, threshold):
    if backend == "triton" and math.prod(shape) > 2000:
        shape = (2, 1061)  # more takes its interpreter minutes
    positional, named = case(shape, dtype)
    others = [*positional[1:], *(t for t in named.values() if isinstance(t, torch.Tensor))]
    for seed, tensor in enumerate(others):  # of these nothing counts
        spoil(tensor, 0.02, seed)
    clean = velocity_loss(*positional, **named, threshold=threshold, backend=backend)
    assert clean.nonfinite.tolist() == [0] * shape[0]
    spoil(positional[0], 0.3, 99)
    positional[0][-1] = torch.inf  # one sample has nothing else
    out = velocity_loss(*positional, **named, threshold=threshold, backend=backend)
    assert out.nonfinite.tolist() == counted(positional[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_masked_and_overflowing_elements_are_finite(backend, dtype):
    (v, x, eps), named = case((2, 300), dtype)
    v[0, ::7] = torch.finfo(dtype).max
    v[1, ::5] = -1e30  # whose square is no float
    for threshold in THRESHOLDS:
        out = velocity_loss(v, x, eps, **named, threshold=threshold, backend=backend)
        assert out.nonfinite.tolist() == [0, 0]


def test_noises_drawn_inside_and_strange_layouts(backend):
    (v, x, _), named = case((3, 4, 111), torch.bfloat16, given=False)
    v = torch.stack((v, v), -1)[..., 0]
    spoil(v, 0.05, 1)
    for more in ({"negative_noise": "sampled"}, {"negative_noise": "marginal"}):
        key = noise.keys(1, 2, range(3))
        out = velocity_loss(v, x, None, **named, **more, noise_key=key, backend=backend)
        assert out.nonfinite.tolist() == counted(v)


def test_of_nothing(backend):
    for shape in ((0, 3, 4), (2, 0)):
        positional, named = case(shape)
        out = velocity_loss(*positional, **named, backend=backend)
        assert out.nonfinite.tolist() == [0] * shape[0] and out.nonfinite.dtype == torch.int64
        assert out.guarded() == 0


def test_any_number_of_threads(backend):
    if backend == "triton":
        pytest.skip("its interpreter has one")
    (v, x, eps), named = case((3, 70_001), torch.bfloat16)
    spoil(v, 0.01, 5)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            out = velocity_loss(v, x, eps, **named, backend=backend)
            found.append((out.nonfinite.tolist(), out.loss.item(), out.distances.tolist()))
    finally:
        torch.set_num_threads(before)
    assert found[0][0] == counted(v) and found[1:] == found[:1] * 2


@pytest.mark.slow
def test_more_than_float32_can_count(backend):
    if backend == "triton":
        pytest.skip("its interpreter takes minutes")
    n = 2**24 + 4099
    v = torch.full((1, n), torch.nan, dtype=torch.bfloat16)
    v[0, ::2] = torch.inf
    v[0, 5] = 0
    assert velocity_loss(v, v, v, backend=backend).nonfinite.tolist() == [n - 1]


def gradients(loss, v):
    return torch.autograd.grad(loss, v)[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_guard_changes_no_bit_of_a_finite_v(backend, dtype):
    (v, x, eps), named = case((2, 3, 211), dtype)
    v[0, 0, :5] = 1e4  # masked, and no reason to skip
    v.requires_grad_()

    def evaluated():
        return velocity_loss(v, x, eps, **named, backend=backend)

    plain, guarded = evaluated().loss, evaluated().guarded()
    assert torch.equal(plain, guarded)
    expected = gradients(plain, v)
    assert torch.equal(gradients(guarded, v), expected) and expected.isfinite().all()
    assert torch.equal(gradients(evaluated().guarded() / 3, v), gradients(evaluated().loss / 3, v))


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_guard_shows_what_the_mask_hides(backend, bad):
    (v, x, eps), named = case((2, 3, 50))
    v[1, 2, 49] = bad
    v.requires_grad_()
    hidden = velocity_loss(v, x, eps, **named, backend=backend)
    assert hidden.loss.isfinite() and gradients(hidden.loss, v).isfinite().all()
    out = velocity_loss(v, x, eps, **named, backend=backend)
    assert out.guarded().isnan() and out.loss.isfinite()
    assert gradients(out.guarded(), v).isnan().all()  # of every sample: the update is one


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eager", "cpp"])
def test_guard_is_traced_by_compile(name):
    if name == "cpp" and extension.MISSING is not None:
        pytest.skip(extension.MISSING)
    torch._dynamo.reset()

    def step(v, x, eps):
        out = velocity_loss(2 * v, x, eps, **named, backend=name)
        return out.guarded(), out.nonfinite

    traced = torch.compile(step, fullgraph=True, backend="aot_eager")
    for bad in (1.0, math.nan):
        (v, x, eps), named = case((2, 3, 50))
        v[0, 1, 7] = bad
        v.requires_grad_()
        loss, nonfinite = traced(v, x, eps)
        expected, count = step(v, x, eps)
        assert torch.equal(nonfinite, count)
        for ours, theirs in ((loss, expected), (gradients(loss, v), gradients(expected, v))):
            torch.testing.assert_close(ours, theirs, equal_nan=True)
