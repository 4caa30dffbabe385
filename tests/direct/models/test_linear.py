"""The quick linear layers give the bits of torch's own, forwards and backwards, or step aside."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from direct.models import linear

SIZES = [  # M, K, N: of the tiny transformer, and where MKL adds in one, two and more blocks
    (640, 128, 512),
    (640, 512, 128),
    (256, 128, 128),
    (640, 128, 32),
    (32, 128, 768),
    (300, 384, 96),
    (100, 1000, 64),
    (77, 193, 131),
]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def used(monkeypatch):
    """Notes every product that oneDNN computes."""
    calls, real = [], linear._in_blocks
    monkeypatch.setattr(linear, "_in_blocks", lambda *a: calls.append(a) or real(*a))
    return calls


@pytest.mark.parametrize("size", SIZES)
def test_products_have_the_bits_of_mm_and_addmm(size):
    m, k, n = size
    x, w, b, g = torch.randn(m, k), torch.randn(n, k), torch.randn(n), torch.randn(m, n)
    assert torch.equal(linear.product(x, w.t(), b), torch.addmm(b, x, w.t()))
    assert torch.equal(linear.product(g, w), g @ w)
    assert torch.equal(linear.product(g.t(), x), g.t() @ x)


@pytest.mark.parametrize(
    "loss", [lambda y: y.square().mean(), torch.sum], ids=["dense gradient", "expanded gradient"]
)
def test_a_layer_and_its_gradients_have_the_same_bits(loss):
    plain = nn.Sequential(nn.Linear(128, 512), nn.GELU(), nn.Linear(512, 128))
    quick = linear.quicken(copy.deepcopy(plain))
    assert isinstance(quick[0], linear.Linear) and type(plain[0]) is nn.Linear
    x = torch.randn(8, 80, 128)
    results = []
    for net in (plain, quick):
        x_in = x.clone().requires_grad_(True)
        y = net(x_in)
        loss(y).backward()
        results.append([y, x_in.grad, *(p.grad for p in net.parameters())])
    assert all(map(torch.equal, *results))
    assert all(a.stride() == b.stride() for a, b in zip(*results, strict=True))


def test_a_frozen_layer_passes_the_gradient_on_and_has_none():
    layer = linear.quicken(nn.Sequential(nn.Linear(128, 128))).requires_grad_(False)
    x = torch.randn(128, 128, requires_grad=True)
    layer(x).sum().backward()
    torch.testing.assert_close(x.grad, layer[0].weight.sum(0).expand(128, 128))
    assert layer[0].weight.grad is None and layer[0].bias.grad is None


def test_gradients_are_those_of_finite_differences(monkeypatch):
    monkeypatch.setattr(linear, "product", lambda a, b, c=None: a @ b if c is None else a @ b + c)
    inputs = [
        torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in ((3, 4), (5, 4), (5,))
    ]
    assert torch.autograd.gradcheck(linear._Affine.apply, inputs)


def test_other_bits_are_noticed_and_not_used(monkeypatch):
    """MKL adds up 512 terms in three blocks; taken in one, the rounding is another."""
    a, b = torch.randn(640, 512), torch.randn(512, 128)
    plain = a @ b
    monkeypatch.setattr(linear, "BLOCK", 97)
    linear._same_bits.cache_clear()
    try:
        assert not torch.equal(linear._in_blocks(a, b, None), plain)
        assert torch.equal(linear.product(a, b), plain)
    finally:
        linear._same_bits.cache_clear()


@pytest.mark.parametrize(
    "x",
    [
        torch.randn(640, 128, dtype=torch.float64),
        torch.randn(8, 128, 80).transpose(1, 2),
        torch.randn(2, 4, 80, 128),
        torch.randn(128),
    ],
    ids=["float64", "not contiguous", "four dimensions", "one dimension"],
)
def test_other_inputs_are_left_to_torch(x, monkeypatch):
    calls, layer = used(monkeypatch), nn.Linear(128, 512, dtype=x.dtype)
    expected = layer(x)
    assert torch.equal(linear.quicken(nn.Sequential(layer))(x), expected) and not calls


def test_autocast_and_layers_without_bias_are_left_to_torch(monkeypatch):
    calls, x = used(monkeypatch), torch.randn(640, 128)
    unbiased = linear.quicken(nn.Sequential(nn.Linear(128, 512, bias=False)))
    assert torch.equal(unbiased(x), x @ unbiased[0].weight.t())
    with torch.autocast("cpu", torch.bfloat16):
        y = linear.quicken(nn.Sequential(nn.Linear(128, 512)))(x)
    assert y.dtype == torch.bfloat16 and not calls


def test_settings_and_the_stream_of_random_numbers_stay(monkeypatch):
    linear._same_bits.cache_clear()
    precision = torch.backends.mkldnn.matmul.fp32_precision
    a, b = torch.ones(640, 512), torch.ones(512, 128)
    torch.manual_seed(3)
    linear.product(a, b)
    drawn = torch.rand(())
    torch.manual_seed(3)
    assert torch.equal(torch.rand(()), drawn)
    assert torch.backends.mkldnn.matmul.fp32_precision == precision
    assert torch.get_float32_matmul_precision() == "highest"  # raises where settings are at odds


def test_a_compiler_sees_plain_layers(monkeypatch):
    calls, net = used(monkeypatch), linear.quicken(nn.Sequential(nn.Linear(128, 512)))
    x = torch.randn(640, 128)
    expected = torch.addmm(net[0].bias, x, net[0].weight.t())
    assert torch.equal(torch.compile(net, backend="eager", fullgraph=True)(x), expected)
    assert not calls
