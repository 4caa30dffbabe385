"""Whether the GPU's kernels are right: against Eq. 6 in float64, the CPU's kernels, and the bits
of the noise.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from direct import noise
from direct.loss import native, reference
from direct.loss.reference import Inputs, Result

from .place import Kernels, Place, Record, kernels

DTYPES = (torch.float32, torch.bfloat16)
SIZES = ((2, 576), (3, 1), (2, 7, 11, 13), (1, 7681), (2, 40_000), (1, 16, 21, 60, 104))
SMALL = ((2, 24), (2, 77))
NOISE = (1, 7, 1279, 4096, 2_096_640)
NONE_LEFT = {"rand": ("x_rand", "eps_rand"), "hard": ("x_hard", "eps_hard"), "anc": ("v_ref",)}


def agreement(name: str, place: Place) -> Iterator[Record]:
    """Loss, distances, alignment, count and gradient of every variant, each a record."""
    found = kernels(name, place)
    for what, p in cases(SMALL if place.rehearse else SIZES):
        wrong = disagreements(found, p, place.device)
        yield {"what": f"{name}: {what}", "reading": "agrees", "value": not wrong, "said": wrong}
    yield from _scaling(name, found, place.device)


def cases(sizes: tuple[tuple[int, ...], ...]) -> Iterator[tuple[str, Inputs]]:
    """All sizes with all terms, then every other variant at one even and one odd size."""
    for size, dtype in itertools.product(sizes, DTYPES):
        yield f"all terms, {list(size)}, {_short(dtype)}", inputs(size, dtype)
    for size, dtype in zip(sizes[:2], DTYPES, strict=True):
        for what, change in variants(size, dtype):
            p = inputs(size, dtype)
            yield f"{what}, {list(size)}, {_short(dtype)}", change(p)


def inputs(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> Inputs:
    """All four terms of random tensors [B, ...], every noise given."""
    generator = torch.Generator().manual_seed(seed)
    tensors = [torch.randn(shape, generator=generator).to(dtype) for _ in range(8)]
    key = noise.keys(seed, 3, range(shape[0]))
    return Inputs(*tensors, key, None, 0.005, 0.02, 0.2, 50.0, -1.0, 1.0, False, True)


def variants(shape: tuple[int, ...], dtype: torch.dtype) -> Iterator[tuple[str, Any]]:
    def but(**values: Any) -> Any:
        return lambda p: p._replace(**values)

    for count in (1, 2, 3):
        for left in itertools.combinations(NONE_LEFT, count):
            names = {field: None for term in left for field in NONE_LEFT[term]}
            weights = {f"lambda_{term}": 0.0 for term in left}
            yield f"without {', '.join(left)}", but(**names, **weights)
    drawn: dict[str, Any] = {"eps_rand": None, "eps_hard": None}
    yield "negatives' noises drawn", but(**drawn)
    yield "every noise drawn", but(**drawn, eps=None)
    yield "one noise drawn", but(eps_rand=None)
    yield "negatives' noises at their mean", but(**drawn, marginal=True)
    yield "a weight per sample", but(weight=torch.arange(float(shape[0])))
    weights4 = torch.arange(4.0 * shape[0]).reshape(-1, 4) / 8
    yield "a weight per term", but(weight=weights4, threshold=1.5)
    yield "another path", but(alpha_dot=-0.7, sigma_dot=1.3, threshold=float("inf"))
    yield "without gradient", but(need_gradient=False)
    yield "strided", partial(_strided)
    yield "off 16 bytes", partial(_shifted)
    yield "nan and infinities", partial(_spoilt)


def disagreements(found: Kernels, p: Inputs, device: str) -> list[str]:
    """What is wrong: against float64, and against the CPU's kernels with twice the tolerance."""
    ours = [tensor.cpu() for tensor in found.loss(_map(p, lambda tensor: _to(tensor, device)))]
    exact = reference.evaluate(_map(p, lambda t: t.double() if t.is_floating_point() else t))
    return [
        *(f"{word}: not float64's" for word in _differing(ours, exact, p, 1)),
        *(f"{word}: not the CPU's" for word in _differing(ours, native.operator(p), p, 2)),
    ]


def _differing(ours: Any, theirs: Result, p: Inputs, times: int) -> list[str]:
    """The tolerances of every backend's tests (tests/direct/loss/test_backends.py)."""
    names = ("loss", "distances", "alignment", "count", "gradient")
    near = ((2e-6, 1e-6), (2e-6, 1e-7), (2e-6, 3e-6), (0, 0))
    exact = theirs[4].double().numpy()
    slack = 1e-6 * np.abs(exact).max(initial=0)
    tolerances = (*near, (1.01 * torch.finfo(p.v.dtype).eps / 2, slack))
    return [
        name
        for name, a, b, (rtol, atol) in zip(names, ours, theirs, tolerances, strict=True)
        if a.shape != b.shape
        or not np.allclose(
            a.double().numpy(), b.double().numpy(), times * rtol, times * atol, equal_nan=True
        )
    ]


def _scaling(name: str, found: Kernels, device: str) -> Iterator[Record]:
    for dtype, elements, factor in itertools.product(DTYPES, (7, 2569), (1.0, -0.3)):
        values = torch.randn(1, elements, generator=torch.Generator().manual_seed(1)).to(dtype)
        scaled = values.to(device, copy=True)
        found.scale(scaled, torch.tensor(factor, device=device))
        # Triton's interpreter truncates where a GPU rounds.
        near = 2**-7 if name == "triton" and device == "cpu" and dtype != torch.float32 else 0
        wanted = (values.float() * factor).to(dtype)
        right = torch.allclose(scaled.cpu().float(), wanted.float(), rtol=near, atol=0)
        what = f"{name}: a gradient times {factor:g}, {elements} elements, {_short(dtype)}"
        yield {"what": what, "reading": "agrees", "value": right}


def bits(place: Place) -> Iterator[Record]:
    """Noise and path: the bits of direct/noise.py."""
    found = kernels("cuda", place)
    assert found.normal is not None and found.interpolate is not None
    for elements in NOISE[:3] if place.rehearse else NOISE:
        key, t = noise.keys(5, elements, range(2)), torch.tensor([0.37, 1.0])
        key[0, 1] = -5  # an offset that wraps
        there, at = key.to(place.device), t.to(place.device)
        for term in (noise.EPS, noise.RAND, noise.HARD):
            same = _equal(found.normal(there, elements, term), noise.draw(key, (2, elements), term))
            yield _bits(f"cuda: noise of term {term}, {elements} elements", same)
        for dtype in DTYPES:
            x = torch.randn(2, elements, generator=torch.Generator().manual_seed(2)).to(dtype)
            path = found.interpolate(x.to(place.device), there, at)
            same = _equal(path, noise.interpolate(x, key, t))
            yield _bits(f"cuda: x_t, {elements} elements, {_short(dtype)}", same)


def drawn_inside(name: str, place: Place) -> Iterator[Record]:
    """One backend's loss with its noise drawn inside, and with that noise given; run twice, too."""
    found = kernels(name, place)
    for elements in (5, 24) if place.rehearse else (5, 7681, 2_096_640):
        p = inputs((2, elements), torch.float32)
        terms = {"eps": noise.EPS, "eps_rand": noise.RAND, "eps_hard": noise.HARD}
        given = {field: noise.draw(p.key, p.v.shape, term) for field, term in terms.items()}
        calls = (dict.fromkeys(terms), dict.fromkeys(terms), given)
        first, again, outside = (
            found.loss(_map(p._replace(**change), lambda t: _to(t, place.device)))
            for change in calls
        )
        yield _bits(f"{name}: twice, {elements} elements", all(map(_equal, first, again)))
        if not (name == "triton" and place.rehearse):  # whose interpreter rounds an fma twice
            same = all(map(_equal, first, outside))
            yield _bits(f"{name}: noise inside as given, {elements} elements", same)


def _bits(what: str, same: bool) -> Record:
    return {"what": what, "reading": "same bits", "value": same}


def _equal(a: Tensor, b: Tensor) -> bool:
    """Bit for bit, nan included."""
    a, b = (tensor.cpu().contiguous().reshape(-1) for tensor in (a, b))
    return a.dtype == b.dtype and torch.equal(a.view(torch.uint8), b.view(torch.uint8))


def _map(p: Inputs, change: Any) -> Inputs:
    return Inputs._make(change(value) if isinstance(value, Tensor) else value for value in p)


def _to(tensor: Tensor, device: str) -> Tensor:
    """On the device with the same strides: a plain copy would make a strided tensor dense."""
    if tensor.is_contiguous():
        return tensor.to(device)
    there = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)
    return there.copy_(tensor)


def _strided(p: Inputs) -> Inputs:
    """Every other element of a tensor twice as wide; values are p's."""
    return p._replace(
        **{
            name: torch.stack((t, t), -1)[..., 0]
            for name, t in p._asdict().items()
            if isinstance(t, Tensor) and t.shape == p.v.shape
        }
    )


def _shifted(p: Inputs) -> Inputs:
    """Rows one element apart from each other, so that not all begin on 16 bytes."""

    def apart(tensor: Tensor) -> Tensor:
        wide = tensor.new_zeros(len(tensor), tensor[0].numel() + 1)
        wide[:, :-1] = tensor.flatten(1)
        return wide[:, :-1].unflatten(1, tensor.shape[1:])

    return p._replace(v=apart(p.v), x=apart(p.x))


def _spoilt(p: Inputs) -> Inputs:
    bad = torch.tensor([torch.nan, torch.inf, -torch.inf])
    v, x = p.v.clone().flatten(1), p.x_rand.clone().flatten(1)  # type: ignore[union-attr]
    v[-1, :1], x[0, :1] = bad[:1].to(v), bad[1:2].to(v)
    if v.shape[1] > 3:
        v[0, -3:] = bad.to(v)
    return p._replace(v=v.view_as(p.v), x_rand=x.view_as(p.v))


def _short(dtype: torch.dtype) -> str:
    return "bf16" if dtype == torch.bfloat16 else "fp32"
