"""Every backend that can run on this machine against the NumPy oracle in float64."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from direct import noise, velocity_loss
from direct.common.errors import UserError
from direct.loss import backends

from .oracle import case, oracle

RUNNABLE = [name for name in ("eager", "cpp") if backends.missing(name) is None]
SHAPES = [(2, 4, 3, 6, 8), (3, 1), (1, 16 * 1024 + 257), (5, 7, 11), (2, 40_000)]
each_backend = pytest.mark.parametrize("backend", RUNNABLE)


def run(positional, named, backend, **more):
    v = positional[0].detach().requires_grad_()
    out = velocity_loss(v, *positional[1:], **named, **more, backend=backend)
    out.loss.backward()
    return out, v.grad


def compare(out, gradient, positional, named, **more):
    loss, distances, alignment, exact = oracle(*positional, **named, **more)
    np.testing.assert_allclose(out.distances.numpy(), distances, rtol=2e-6, atol=1e-7)
    np.testing.assert_allclose(out.alignment.numpy(), alignment, rtol=2e-6, atol=3e-6)
    np.testing.assert_allclose(out.loss.item(), loss, rtol=2e-6, atol=1e-6)
    # Half a unit in the last place of the gradient's type, and fp32 rounding of what goes into it.
    rounding = torch.finfo(gradient.dtype).eps / 2
    slack = 1e-6 * np.abs(exact).max(initial=0)
    np.testing.assert_allclose(
        gradient.double().numpy().reshape(exact.shape), exact, rtol=1.01 * rounding, atol=slack
    )


@each_backend
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_all_terms(backend, dtype, shape):
    positional, named = case(shape, dtype)
    out, gradient = run(positional, named, backend)
    assert gradient.dtype == dtype and out.loss.dtype == out.distances.dtype == torch.float32
    compare(out, gradient, positional, named)


@each_backend
@pytest.mark.parametrize(
    "terms",
    [t for r in range(4) for t in itertools.combinations(("rand", "hard", "anc"), r)],
    ids=str,
)
def test_every_subset_of_terms(backend, terms):
    positional, named = case((3, 5, 70), torch.bfloat16, terms=terms)
    out, gradient = run(positional, named, backend)
    compare(out, gradient, positional, named)


@each_backend
@pytest.mark.parametrize("weight_shape", [(3,), (3, 4)], ids=str)
def test_weights_mask_and_path(backend, weight_shape):
    positional, named = case((3, 4, 99), scale=2.0)
    weight = torch.rand(weight_shape) * 2
    weight[1] = 0
    more = {"threshold": 2.5, "alpha_dot": -0.7, "sigma_dot": 1.3}
    out, gradient = run(positional, named, backend, weight=weight, **more)
    compare(out, gradient, positional, named, weight=weight, **more)
    assert not gradient[1].any()


@each_backend
def test_what_is_masked_cannot_leak(backend):
    positional, named = case((2, 50), torch.bfloat16)
    clean, clean_gradient = run(positional, named, backend, threshold=torch.inf)
    spoilt = {**named, "rand_latents": named["rand_latents"].clone()}
    spoilt["rand_latents"][0, :3] = torch.tensor([torch.nan, torch.inf, 3e38])
    out, gradient = run(positional, spoilt, backend)
    assert torch.isfinite(gradient).all() and torch.isfinite(out.loss)
    assert torch.equal(gradient[1], clean_gradient[1])
    assert torch.equal(out.distances[:, [0, 2, 3]], clean.distances[:, [0, 2, 3]])
    positional[1][1, 7] = torch.nan  # in x: every fm residual there is masked, the others stay
    out, gradient = run(positional, named, backend)
    compare(out, gradient, (positional[0], positional[1].nan_to_num(1e30), positional[2]), named)


@each_backend
@pytest.mark.parametrize("given_eps", [True, False])
def test_noise_drawn_inside_is_the_same_as_given(backend, given_eps):
    shape = (3, 4, 111)
    (v, x, eps), named = case(shape, given=False)
    key = noise.keys(7, 8, range(3))
    eps = eps if given_eps else noise.normal(key, shape)
    drawn = {
        "rand_noise": noise.normal(key, shape, term=noise.RAND),
        "hard_noise": noise.normal(key, shape, term=noise.HARD),
    }
    inside, gradient = run((v, x, eps if given_eps else None), named, backend, noise_key=key)
    outside, expected = run((v, x, eps), named | drawn, backend)
    assert torch.equal(gradient, expected)
    for name in ("loss", "distances", "alignment"):
        assert torch.equal(getattr(inside, name), getattr(outside, name)), name


@pytest.mark.slow
@each_backend
def test_marginal_noise_is_the_mean_over_noise(backend):
    shape = (2, 3, 700)
    positional, named = case(shape, given=False)
    out, gradient = run(positional, named, backend, negative_noise="marginal", sigma_dot=1.1)
    compare(out, gradient, positional, named, sigma_dot=1.1)
    draws, gradients = [], []
    for step in range(60):
        key = noise.keys(0, step, range(2))
        sampled, one = run(positional, named, backend, noise_key=key, sigma_dot=1.1)
        draws.append(sampled.distances)
        gradients.append(one)
    draws = torch.stack(draws)
    error = draws.std(0) / len(draws) ** 0.5
    assert ((draws.mean(0) - out.distances).abs() <= 5 * error + 1e-6).all()
    distance = (torch.stack(gradients).mean(0) - gradient).norm()
    assert distance < 0.2 * (gradients[0] - gradient).norm()  # 1 / sqrt(60) = 0.13


@each_backend
def test_alignment_identity(backend):
    """|delta|^2 / n = d_fm + d_k + 2 a_k where nothing is masked (design, section 3)."""
    (v, x, eps), named = case((4, 500))
    out, _ = run((v, x, eps), named, backend)
    for k, term in ((1, "rand"), (2, "hard")):
        delta = (eps - x) - (named[f"{term}_noise"] - named[f"{term}_latents"])
        ours = out.distances[:, 0] + out.distances[:, k] + 2 * out.alignment[:, k - 1]
        torch.testing.assert_close(
            ours, delta.double().square().mean(1).float(), rtol=1e-5, atol=1e-5
        )


@each_backend
def test_a_sample_alone_and_in_a_batch(backend):
    (v, x, eps), named = case((4, 5, 4001), torch.bfloat16, given=False)
    key = noise.keys(1, 1, range(4))
    together = velocity_loss(v, x, eps, **named, noise_key=key, backend=backend)
    one = {name: t[2:3] if isinstance(t, torch.Tensor) else t for name, t in named.items()}
    alone = velocity_loss(v[2:3], x[2:3], eps[2:3], **one, noise_key=key[2:3], backend=backend)
    assert torch.equal(together.distances[2:3], alone.distances)
    assert torch.equal(together.alignment[2:3], alone.alignment)


@each_backend
def test_the_same_bits_on_every_run_and_number_of_threads(backend):
    positional, named = case((3, 35_001), torch.bfloat16, given=False)
    key = noise.keys(0, 0, range(3))
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(run(positional, named, backend, noise_key=key))
    finally:
        torch.set_num_threads(before)
    for out, gradient in results[1:]:
        assert torch.equal(gradient, results[0][1])
        assert torch.equal(out.loss, results[0][0].loss)
        assert torch.equal(out.distances, results[0][0].distances)


@each_backend
def test_inputs_that_are_not_contiguous(backend):
    positional, named = case((3, 4, 6, 10))
    expected, expected_gradient = run(positional, named, backend)

    def strange(tensor, kind):
        """Equal values in an unusual layout."""
        if kind == 0:
            return tensor.transpose(1, 3).contiguous().transpose(1, 3)
        if kind == 1:
            return torch.stack((tensor, tensor), -1)[..., 0]
        padded = torch.zeros(6, *tensor.shape[1:])
        padded[::2] = tensor
        return padded[::2]

    tensors = [strange(tensor, i % 3) for i, tensor in enumerate(positional)]
    others = {
        name: strange(value, i % 3) if isinstance(value, torch.Tensor) else value
        for i, (name, value) in enumerate(named.items())
    }
    assert not any(tensor.is_contiguous() for tensor in tensors)
    out, gradient = run(tensors, others, backend)
    assert torch.equal(gradient, expected_gradient) and torch.equal(out.loss, expected.loss)


@each_backend
def test_empty_batch_and_empty_samples(backend):
    for shape in ((0, 3, 4), (2, 0)):
        positional, named = case(shape)
        out, gradient = run(positional, named, backend)
        assert out.loss.item() == 0 and gradient.shape == shape
        assert out.distances.shape == (shape[0], 4) and out.alignment.shape == (shape[0], 2)


@each_backend
def test_inputs_are_never_written(backend):
    positional, named = case((2, 100), torch.bfloat16)
    tensors = [*positional, *(value for value in named.values() if isinstance(value, torch.Tensor))]
    copies = [tensor.clone() for tensor in tensors]
    versions = [tensor._version for tensor in tensors]
    run(positional, named, backend)
    assert all(torch.equal(a, b) for a, b in zip(tensors, copies, strict=True))
    assert versions == [tensor._version for tensor in tensors]


def test_backends_that_cannot_run():
    (v, x, eps), named = case((2, 3))
    with pytest.raises(UserError, match="backend is 'cuda', but v is on cpu; use 'auto'"):
        velocity_loss(v, x, eps, **named, backend="cuda")
    with pytest.raises(UserError, match="backend is 'egaer'; did you mean eager"):
        velocity_loss(v, x, eps, **named, backend="egaer")
    (v, x, eps), named = case((2, 3), torch.float64)
    with pytest.raises(UserError, match="float64, which 'eager' alone takes"):
        velocity_loss(v, x, eps, **named, backend="cpp")
    assert velocity_loss(v, x, eps, **named).loss.dtype == torch.float64


def test_auto_takes_the_compiled_kernels(monkeypatch):
    v = torch.zeros(1, 1)
    assert backends.choose("auto", v) == ("cpp" if backends.missing("cpp") is None else "eager")
    monkeypatch.setattr(backends.extension, "MISSING", "_C.abi3.so was not built")
    assert backends.choose("auto", v) == "eager"
    with pytest.raises(UserError, match=r"backend is .cpp., but _C"):
        backends.choose("cpp", v)


def test_a_name_that_is_chosen_is_checked_against_dtype_and_device(monkeypatch):
    fp64, meta = torch.zeros(1, dtype=torch.float64), torch.zeros(1, device="meta")
    assert backends.choose("auto", fp64) == "eager" and backends.choose("eager", meta) == "eager"
    for name in ("cpp", "triton", "cuda"):
        with pytest.raises(UserError, match=r"float64, which 'eager' alone takes"):
            backends.choose(name, fp64)
        with pytest.raises(UserError, match="v is on meta"):
            backends.choose(name, meta)
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(UserError, match="backend is 'triton', but v is on cpu"):
        backends.choose("triton", torch.zeros(1))


def test_what_a_machine_lacks_is_said_with_its_cure(monkeypatch):
    monkeypatch.setattr(backends.extension, "MISSING", None)
    monkeypatch.setattr(backends.extension, "HAS_CUDA", False)
    assert backends.missing("cpp") is backends.missing("eager") is None
    note = "none, nvcc failed: nvcc fatal: no"
    monkeypatch.setattr(backends.extension, "cuda_note", lambda: note)
    assert backends.missing("cuda") == (
        "the extension was built without CUDA (nvcc failed: nvcc fatal: no); "
        "install again where nvcc works"
    )
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    assert backends.missing("triton") == "triton is not installed; pip install triton"


def test_auto_tries_a_gpu_once_and_says_why_it_falls_back(monkeypatch, capsys):
    """A card or a driver that the library's code does not run on, which no table of names knows."""
    tried = []

    def normal(key, elements, term):
        raise RuntimeError("direct: CUDA: no kernel image is available\nmore lines")

    def zeros(*shape, dtype, device):
        tried.append(device)

    gpu = torch.device("cuda", 7)
    v = SimpleNamespace(dtype=torch.float32, device=gpu, is_cuda=True)
    monkeypatch.setattr(backends.extension, "MISSING", None)
    monkeypatch.setattr(backends.extension, "HAS_CUDA", True)
    monkeypatch.setattr(backends.extension, "cuda_note", lambda: "13.0 for sm_90")
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    operators = SimpleNamespace(direct=SimpleNamespace(normal=normal))
    compiler = SimpleNamespace(is_compiling=lambda: False)
    stand_in = SimpleNamespace(ops=operators, zeros=zeros, compiler=compiler, int64=torch.int64)
    monkeypatch.setattr(backends, "torch", SimpleNamespace(**vars(stand_in), float64=torch.float64))
    try:
        assert [backends.choose("auto", v) for _ in range(3)] == ["eager"] * 3
        assert tried == [gpu]
        assert capsys.readouterr().err == (
            "direct: the loss runs by 'eager' on cuda:7: a trial of the compiled kernels failed "
            "(direct: CUDA: no kernel image is available); built for 13.0 for sm_90\n"
        )
        with pytest.raises(UserError, match="backend is 'cuda', but a trial of the compiled"):
            backends.choose("cuda", v)
        backends.refusal.cache_clear()
        monkeypatch.setattr(operators.direct, "normal", lambda *arguments: None)
        assert backends.choose("auto", v) == "cuda" and not capsys.readouterr().err
    finally:
        backends.refusal.cache_clear()
