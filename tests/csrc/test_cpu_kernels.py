"""The CPU kernels: the same bits for every instruction set; misuse of the operator is refused."""

import math

import pytest
import torch

from direct import extension, noise, velocity_loss

pytestmark = pytest.mark.skipif(
    extension.MISSING is not None, reason="built without a compiler, like cuda"
)


@pytest.fixture
def restore():
    before = torch.ops.direct.instruction_set("")
    yield
    torch.ops.direct.instruction_set(before)


def results(dtype, elements):
    generator = torch.Generator().manual_seed(0)
    shape = (2, elements)
    v, x, rand, hard, hard_noise, reference = (
        torch.randn(shape, generator=generator).to(dtype) for _ in range(6)
    )
    key, t = noise.keys(1, 2, range(2)), torch.tensor([0.25, 0.8])
    v.requires_grad_()
    out = velocity_loss(
        v,
        x,
        None,
        rand_latents=rand,
        hard_latents=hard,
        hard_noise=hard_noise,
        reference=reference,
        noise_key=key,
        lambda_rand=0.1,
        lambda_hard=0.2,
        lambda_anc=0.3,
        weight=torch.tensor([0.5, 2.0]),
        threshold=3.0,
        backend="cpp",
    )
    out.loss.backward()
    drawn = noise.normal(key, shape, term=noise.HARD)
    return [*out, v.grad, drawn, noise.interpolate(x, key, t)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("elements", [5, 256, 20_003])
def test_every_instruction_set_gives_the_same_bits(restore, dtype, elements):
    found = []
    for name in ("portable", "avx2", "avx512"):
        if torch.ops.direct.instruction_set(name) == name:
            found.append(results(dtype, elements))
    assert found, "the portable kernels run everywhere"
    for other in found[1:]:
        for ours, theirs in zip(found[0], other, strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_noise_and_path_equal_the_definition(restore, dtype):
    shape = (3, 5, 411)
    key, t = noise.keys(5, 6, range(3)), torch.tensor([0.0, 0.37, 1.0])
    latents = torch.randn(shape, dtype=dtype)
    eps = noise.draw(key, shape, noise.EPS)
    at = t.reshape(-1, 1, 1)
    path = ((1 - at) * latents.float() + at * eps).to(dtype)
    for name in ("portable", "avx2", "avx512"):
        torch.ops.direct.instruction_set(name)
        assert torch.equal(noise.normal(key, shape), eps)
        assert torch.equal(noise.interpolate(latents, key, t), path)


@pytest.mark.parametrize("threshold", [50.0, 3.0, 1e-3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_all_terms_given_have_the_same_bits_on_every_instruction_set(restore, dtype, threshold):
    generator = torch.Generator().manual_seed(0)
    given = [torch.randn(2, 16_500, generator=generator).to(dtype) for _ in range(8)]
    found = []
    for name in ("portable", "avx2", "avx512"):
        if torch.ops.direct.instruction_set(name) == name:
            found.append(masked(given, threshold, "cpp"))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def masked(given, threshold, backend):
    """Distances, alignment and gradient with all terms; given: v, x and eps of each, v_ref."""
    v, x, eps, x_rand, eps_rand, x_hard, eps_hard, v_ref = given
    v = v.detach().requires_grad_()
    out = velocity_loss(
        v,
        x,
        eps,
        rand_latents=x_rand,
        rand_noise=eps_rand,
        hard_latents=x_hard,
        hard_noise=eps_hard,
        reference=v_ref,
        lambda_rand=0.25,
        lambda_hard=0.125,
        lambda_anc=0.5,
        threshold=threshold,
        backend=backend,
    )
    out.loss.backward()
    return out.distances, out.alignment, v.grad


@pytest.mark.parametrize("position", [0, 1, 31, 127, 128, 16_383, 16_384, 16_500])
@pytest.mark.parametrize("term", range(4))
def test_one_element_above_the_threshold_is_left_out_wherever_it_lies(restore, position, term):
    """The mask is applied where a lane's squares add up to more than the threshold's square."""
    given = [torch.zeros(2, 16_501) for _ in range(8)]
    given[1] += 2**-4  # every e but the anchor's; a lane's squares stay far below 4
    given[1 + 2 * term][1, position] = 2.0 + 2**-20  # just above, of one term of one sample
    for name in ("portable", "avx2", "avx512"):
        torch.ops.direct.instruction_set(name)
        distances, _, gradient = masked(given, 2.0, "cpp")
        of_eager, _, eager = masked(given, 2.0, "eager")
        assert torch.equal(distances, of_eager)
        assert torch.equal(gradient, eager)
        assert distances[1, term] == (distances[0, term] * (16_500 / 16_501))
    given[1 + 2 * term][1, position] = 2.0  # at the threshold: it counts
    assert masked(given, 2.0, "cpp")[0][1, term] > distances[0, term]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("threshold", [1e-30, 1e-16, 1.0, 1e18, 1e25, math.inf])
def test_thresholds_whose_squares_are_no_floats(restore, dtype, threshold):
    sizes = [0.0, 1e-25, 1e-15, 0.5, 1.0, 1.5, 1e17, 1e19, 1e26, 1e38, math.inf, math.nan]
    given = [torch.zeros(2, 300, dtype=dtype) for _ in range(8)]
    given[0][1, : len(sizes)] = torch.tensor(sizes)
    expected = masked(given, threshold, "eager")
    for name in ("portable", "avx2", "avx512"):
        torch.ops.direct.instruction_set(name)
        for ours, eager in zip(masked(given, threshold, "cpp"), expected, strict=True):
            torch.testing.assert_close(ours, eager, equal_nan=True, rtol=1e-6, atol=0)


@pytest.mark.parametrize("threshold", [50.0, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_targets_have_the_same_bits_on_every_instruction_set(restore, dtype, threshold):
    generator = torch.Generator().manual_seed(0)
    v, *given = (torch.randn(2, 16_500, generator=generator).to(dtype) for _ in range(6))
    found = []
    for name in ("portable", "avx2", "avx512"):
        if torch.ops.direct.instruction_set(name) == name:
            found.append(
                torch.ops.direct.target_loss(v, given, [0.3, -0.2, 1, 0, 2], None, threshold, True)
            )
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_large_gradients_written_past_the_caches_are_whole():
    """Above 8 MB the gradient takes another way to memory; sample 2 begins off a cache line."""
    v, x, eps = (torch.randn(2, 1_050_001) for _ in range(3))
    v.requires_grad_()
    velocity_loss(v, x, eps, backend="cpp").loss.backward()
    expected = (v.detach() - (eps - x)) * (2 / v.numel())
    torch.testing.assert_close(v.grad, expected, rtol=1e-6, atol=1e-12)


def test_the_operator_refuses_what_the_wrapper_would_have_caught():
    v = torch.zeros(2, 3)
    rest = (None,) * 8 + (0.0, 0.0, 0.0, 50.0, -1.0, 1.0, False, False)
    operator = torch.ops.direct.velocity_loss
    with pytest.raises(RuntimeError, match="input 1 differs from v"):
        operator(v, torch.zeros(2, 4), *rest)
    with pytest.raises(RuntimeError, match="noise must be drawn but key is None"):
        operator(v, v.clone(), *rest)
    with pytest.raises(RuntimeError, match="use bfloat16 or float32"):
        operator(v.half(), v.half(), *rest)
