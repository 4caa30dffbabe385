"""What is measured: shapes, the loss and its competitors on the same inputs, and the limits."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from itertools import cycle
from pathlib import Path

import torch
from torch import Tensor

from direct import noise, velocity_loss
from direct.loss import VelocityLoss, backends
from direct.loss.reference import Inputs

PAPER = (16, 21, 60, 104)  # latents of an 81-frame clip of 480 x 832 pixels
TINY = (32, 5, 4, 4)
LAMBDAS = (0.005, 0.02, 0.2)  # rand, hard, anc (App. D)
THRESHOLD = 50.0
TENSORS = ("v", "x", "eps", "x_rand", "eps_rand", "x_hard", "eps_hard", "v_ref")

# Noise of the negatives: tensors read, and whether it must be drawn.
VARIANTS = {
    "given": TENSORS,
    "drawn": tuple(t for t in TENSORS if t not in ("eps_rand", "eps_hard")),
}


def inputs(shape: tuple[int, ...], device: str, seed: int = 0) -> dict[str, Tensor]:
    """One set of bf16 inputs [B, C, T, H, W] and a key."""
    generator = torch.Generator(device).manual_seed(seed)
    made = {
        name: torch.randn(shape, generator=generator, device=device, dtype=torch.bfloat16)
        for name in TENSORS
    }
    return made | {"key": noise.keys(seed, 0, range(shape[0])).to(device)}


def bytes_moved(shape: tuple[int, ...], variant: str) -> int:
    """Each input read once and the gradient written once, in bf16."""
    elements = torch.Size(shape).numel()
    return 2 * elements * (len(VARIANTS[variant]) + 1)


def videox_fun(v, targets, precision):
    """The masked mean square as VideoX-Fun writes it, once per target."""

    def custom_mse(prediction, target):
        prediction, target = prediction.to(precision), target.to(precision)
        difference = prediction - target
        squares = torch.nn.functional.mse_loss(prediction, target, reduction="none")
        return (squares * (difference.abs() <= THRESHOLD).to(precision)).mean()

    rand, hard, anc = LAMBDAS
    d = [custom_mse(v, target) for target in targets]
    return d[0] - rand * d[1] - hard * d[2] + anc * d[3]


def targets_of(s: dict[str, Tensor], drawn: bool) -> list[Tensor]:
    eps_rand = torch.randn_like(s["x_rand"]) if drawn else s["eps_rand"]
    eps_hard = torch.randn_like(s["x_hard"]) if drawn else s["eps_hard"]
    return [s["eps"] - s["x"], eps_rand - s["x_rand"], eps_hard - s["x_hard"], s["v_ref"]]


def derived_by_hand(s: dict[str, Tensor], drawn: bool):
    """Distances, alignment and gradient as one graph without autograd: the strongest competitor."""
    v, targets = s["v"].float(), [target.float() for target in targets_of(s, drawn)]
    dims = tuple(range(1, v.dim()))
    e = [torch.where((v - u).abs() <= THRESHOLD, v - u, 0) for u in targets]
    distances = torch.stack([(k * k).mean(dims) for k in e], 1)
    alignment = torch.stack([-(e[0] * k).mean(dims) for k in e[1:3]], 1)
    c = (1.0, -LAMBDAS[0], -LAMBDAS[1], LAMBDAS[2])
    gradient = sum(c_k * e_k for c_k, e_k in zip(c, e, strict=True)) * (2 / v.numel())
    return distances, alignment, gradient.to(s["v"].dtype)


def by_autograd(loss) -> Callable[[dict[str, Tensor]], object]:
    """`loss(v, s)` and its gradient with respect to v."""

    def step(s: dict[str, Tensor]) -> object:
        v = s["v"].detach().requires_grad_()
        return torch.autograd.grad(loss(v, s), v)

    return step


def implementations(device: str, variant: str) -> dict[str, Callable[[dict[str, Tensor]], object]]:
    """name -> function of one input set that ends with the gradient with respect to v."""
    drawn = variant == "drawn"

    def plain(precision):
        return by_autograd(lambda v, s: videox_fun(v, targets_of(s, drawn), precision))

    graph = torch.compile(lambda v, s: videox_fun(v, targets_of(s, drawn), torch.float32))
    explicit = torch.compile(lambda s: derived_by_hand(s, drawn))
    found = {
        "eager fp32": plain(torch.float32),
        "eager bf16": plain(torch.bfloat16),
        "compiled autograd": by_autograd(graph),
        "compiled by hand": lambda s: explicit(s),
    }
    wanted = ("cpp",) if device == "cpu" else ("cuda", "triton")
    for backend in (name for name in wanted if backends.missing(name) is None):
        found[f"ours, {backend}"] = by_autograd(ours(backend, drawn))
    return found


def ours(backend: str, drawn: bool):
    evaluate = evaluation(backend, drawn)
    return lambda v, s: evaluate(v, s).loss


def evaluation(backend: str, drawn: bool):
    """All that `velocity_loss` gives, as a function of v and one input set."""
    rand, hard, anc = LAMBDAS

    def evaluate(v: Tensor, s: dict[str, Tensor]) -> VelocityLoss:
        return velocity_loss(
            v,
            s["x"],
            s["eps"],
            rand_latents=s["x_rand"],
            rand_noise=None if drawn else s["eps_rand"],
            hard_latents=s["x_hard"],
            hard_noise=None if drawn else s["eps_hard"],
            reference=s["v_ref"],
            noise_key=s["key"],
            lambda_rand=rand,
            lambda_hard=hard,
            lambda_anc=anc,
            threshold=THRESHOLD,
            backend=backend,
        )

    return evaluate


def operator_alone(backend: str, variant: str):
    """Loss, telemetry and gradient by the operator itself: what the limits are compared with."""
    if backend == "triton":
        from direct.loss.triton import evaluate as operator
    else:
        from direct.loss.native import operator
    settings = (*LAMBDAS, THRESHOLD, -1.0, 1.0, False, True)  # u = eps - x, with its gradient

    def step(s: dict[str, Tensor]) -> object:
        given = [s[name] if name in VARIANTS[variant] else None for name in TENSORS]
        return operator(Inputs(*given, s["key"], None, *settings))

    return step


def limits(device: str, shape: tuple[int, ...], variant: str, sets: int):
    """name -> function of one input set: the same streams without arithmetic, and a plain copy.

    The copy has `sets` buffers of its own, which rotate as the inputs do.
    """
    names = VARIANTS[variant]
    half = bytes_moved(shape, variant) // 4  # bf16 elements read; as many are written
    ones = {"dtype": torch.bfloat16, "device": device}
    turn = cycle([(torch.ones(half, **ones), torch.ones(half, **ones)) for _ in range(sets)])
    streams = _cpu_streams if device == "cpu" else _gpu_streams

    def copy(s: dict[str, Tensor]) -> Tensor:
        source, target = next(turn)
        return target.copy_(source)

    return {
        "limit: same streams": lambda s: streams([s[name] for name in names]),
        "limit: copy": copy,
    }


@cache
def _library() -> ctypes.CDLL:
    """streams.cpp, compiled for this very processor."""
    output = Path(tempfile.mkdtemp()) / "streams.so"
    command = ["g++", "-O3", "-march=native", "-fopenmp", "-shared", "-fPIC"]
    subprocess.run(
        [*command, str(Path(__file__).with_name("streams.cpp")), "-o", output], check=True
    )
    return ctypes.CDLL(str(output))


def _cpu_streams(tensors: list[Tensor]) -> Tensor:
    out = torch.empty_like(tensors[0])
    pointers = (ctypes.c_void_p * len(tensors))(*(t.data_ptr() for t in tensors))
    size = ctypes.c_long(out.numel() * out.element_size())
    _library().streams(
        pointers, len(tensors), ctypes.c_void_p(out.data_ptr()), size, torch.get_num_threads()
    )
    return out


def _gpu_streams(tensors: list[Tensor]) -> Tensor:
    from .streams import exclusive_or

    return exclusive_or(tensors)
