"""docs/theory.md, on Gaussian data: trained by `train_step`, a network reaches the formulas.

A clip is 8 x 8 independent pixels of 4 channels, so one clip is 64 draws of N(mu_y, S_y). The
prompt y is one-hot; the empty prompt's clips are those of prompt 0, so its optimum is affine too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from direct import flow, noise, sampling, velocity_loss
from direct.config import Config, Loss
from direct.measure.gain import LEVELS, gain, predicted
from direct.profiles import profile
from direct.settings import with_values
from direct.train.batch import Batch
from direct.train.engine import Engine
from direct.train.step import train_step

PROMPTS, CHANNELS, PIXELS = 3, 4, (1, 8, 8)
FREQUENCIES = 4  # of t
EMPTY = PROMPTS  # the one-hot place of the empty prompt
TOLERANCE = 0.025  # of |v - v*| / |v*| over fresh places; found: 0.018, wrong formulas 0.23 to 1.1
ALL = {"loss.lambda_rand": 0.2, "loss.lambda_hard": 0.3, "loss.lambda_anc": 0.5}


def of(**weights: float) -> Config:
    """A configuration whose stationary point is Eq. 6's: no weight decay, nothing clipped."""
    fixed = {"train.weight_decay": 0.0, "train.clip": 1e9, "train.batch": 256, "train.beta2": 0.95}
    settings = fixed | ALL | {f"loss.{name}": value for name, value in weights.items()}
    return with_values(profile("tiny"), settings)


@dataclass(frozen=True)
class World:
    """mu, S: of each prompt's clips; nu: the mean of its hard negatives; W, w: v_ref = W x + w."""

    mu: Tensor  # [Y, C] float64
    root: Tensor  # [Y, C, C], S = root root^T
    nu: Tensor  # [Y, C]
    W: Tensor  # [C, C]
    w: Tensor  # [C]

    def draw(self, y: Tensor, mean: Tensor) -> Tensor:
        """[B, C, 1, 8, 8] fp32: clips with S of the prompts y and these means."""
        z = torch.randn(len(y), CHANNELS, *PIXELS)
        x = torch.einsum("bij,bj...->bi...", self.root[y].float(), z)
        return x + pixels(mean[y].float())

    def flow_matching(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """E[eps - x | x_t, t, y], with x_t ~ N((1-t) mu, (1-t)^2 S + t^2 I)."""
        S, one = self.root @ self.root.mT, torch.eye(CHANNELS, dtype=torch.float64)
        t = t.double().view(-1, 1, 1)
        spread = (1 - t) ** 2 * S[y] + t**2 * one
        slope = (t * one - (1 - t) * S[y]) @ torch.linalg.inv(spread)
        centred = x_t.double() - pixels((1 - t[..., 0]) * self.mu[y])
        return torch.einsum("bij,bj...->bi...", slope, centred) - pixels(self.mu[y])

    def reference(self, x_t: Tensor) -> Tensor:
        return torch.einsum("ij,bj...->bi...", self.W, x_t.double()) + pixels(self.w[None])

    def others(self, y: Tensor) -> Tensor:
        """[B, C]: the mean clip of the prompts that are not y; each is a cluster of its own."""
        return (self.mu.sum(0) - self.mu[y]) / (PROMPTS - 1)


def pixels(values: Tensor) -> Tensor:
    return values[:, :, None, None, None]


def world() -> World:
    g = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    mu, nu = 0.7 * normal(PROMPTS, CHANNELS), 0.7 * normal(PROMPTS, CHANNELS)
    root = 0.7 * torch.eye(CHANNELS, dtype=torch.float64) + 0.08 * normal(
        PROMPTS, CHANNELS, CHANNELS
    )
    return World(mu, root, nu, 0.4 * normal(CHANNELS, CHANNELS), normal(CHANNELS))


def optimum(at: World, x_t: Tensor, t: Tensor, y: Tensor, loss: Loss, sign: int = -1) -> Tensor:
    """Theory's Eq. T1; y = EMPTY is not contrasted. sign=+1 is wrong on purpose."""
    on = (y != EMPTY).double()[:, None]
    y = torch.where(y == EMPTY, 0, y)
    rand, hard = on * loss.lambda_rand, on * loss.lambda_hard
    u_neg = pixels(-rand * at.others(y) - hard * at.nu[y])  # E[u_k] = -E[x_k]
    top = at.flow_matching(x_t, t, y) + sign * u_neg + loss.lambda_anc * at.reference(x_t)
    return top / pixels(1 + sign * (rand + hard) + loss.lambda_anc)


class Frozen(nn.Module):
    """v_ref, called as a transformer is."""

    def __init__(self, at: World) -> None:
        super().__init__()
        self.at = at

    def forward(self, x_t: Tensor, t: Tensor, text: Tensor, return_dict: bool) -> tuple[Tensor]:
        return (self.at.reference(x_t).float(),)


class Small(nn.Module):
    """v = W x_t + b, where a network with two hidden layers gives W and b from t and y."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.shape = CHANNELS, CHANNELS + 1
        self.layers = nn.Sequential(
            nn.Linear(FREQUENCIES + PROMPTS + 1, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, math.prod(self.shape)),
        )

    def forward(self, x_t: Tensor, t: Tensor, text: Tensor, return_dict: bool) -> tuple[Tensor]:
        waves = (math.pi * t[:, None] / 1000 * torch.arange(1, FREQUENCIES + 1)).cos()
        map = self.layers(torch.cat([waves, text[:, 0]], 1)).unflatten(1, self.shape)
        v = torch.einsum("bij,bj...->bi...", map[..., :-1], x_t)
        return (v + pixels(map[..., -1]),)


def batch(at: World, step: int, config: Config) -> Batch:
    """One global batch as `load_batch` gives it: a quarter of the prompts are dropped."""
    size = config.train.batch
    y = torch.randint(PROMPTS + 1, (size,))
    dropped, y_clip = y == EMPTY, torch.where(y == EMPTY, 0, y)
    other = (y_clip + 1 + torch.randint(PROMPTS - 1, (size,))) % PROMPTS
    weight = torch.ones(size, 4)
    weight[dropped, 1:3] = 0
    return Batch(
        x=at.draw(y_clip, at.mu),
        t=flow.sample_times(config.seed, step, size, config.train.shift),
        key=noise.keys(config.seed, step, range(size), sampling.TRAINING),
        text=nn.functional.one_hot(y, PROMPTS + 1).float()[:, None],
        x_rand=at.draw(other, at.mu) if config.loss.lambda_rand else None,
        eps_rand=None,
        x_hard=at.draw(y_clip, at.nu) if config.loss.lambda_hard else None,
        weight=weight,
    )


def trained(at: World, config: Config, steps: int = 250, rate: float = 0.04) -> nn.Module:
    """The network after `steps` of `train_step`, at a rate that falls to 0."""
    torch.manual_seed(0)
    model = Small()
    running = Engine(model, replace(config.train, learning_rate=rate))
    anchor = Frozen(at) if config.loss.lambda_anc else None
    for step in range(steps):
        running.optimizer.param_groups[0]["lr"] = rate * (1 - step / steps) ** 2
        train_step(running, anchor, batch(at, step, config), config)
    return model.eval()


def places(at: World, size: int = 1024, t: float | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Fresh x_t, t, y: distributed as in training, or with a prompt and at one noise level."""
    torch.manual_seed(1)
    y = torch.randint(PROMPTS + (t is None), (size,))
    times = flow.sample_times(1, 0, size, 2.0) if t is None else torch.full((size,), t)
    x = at.draw(torch.where(y == EMPTY, 0, y), at.mu)
    return flow.interpolate(x, torch.randn_like(x), times), times, y


@torch.no_grad()
def velocity(model: nn.Module, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
    text = nn.functional.one_hot(y, PROMPTS + 1).float()[:, None]
    return model(x_t, 1000 * t, text, False)[0].double()


def distance(model: nn.Module, at: World, config: Config, sign: int = -1) -> float:
    x_t, t, y = places(at)
    want = optimum(at, x_t, t, y, config.loss, sign)
    return ((velocity(model, x_t, t, y) - want).norm() / want.norm()).item()


def reference_clips(at: World, y: Tensor) -> Tensor:
    """x_ref [B, C, 1, 1, 1]: the mean of the negatives, weighted as the loss does."""
    rand, hard = ALL["loss.lambda_rand"], ALL["loss.lambda_hard"]
    return pixels((rand * at.others(y) + hard * at.nu[y]) / (rand + hard))


@pytest.fixture(scope="module")
def nets() -> tuple[World, nn.Module, nn.Module]:
    """The world, and what Eq. 6 and SFT train in it, from one start with the same draws."""
    torch.set_num_threads(1)
    at = world()
    return at, trained(at, of()), trained(at, of(lambda_rand=0.0, lambda_hard=0.0))


@pytest.mark.slow
def test_a_network_trained_by_step_reaches_the_minimiser(nets):
    at, contrast, sft = nets
    assert distance(contrast, at, of()) < TOLERANCE
    assert distance(sft, at, of(lambda_rand=0.0, lambda_hard=0.0)) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["lambda_rand", "lambda_hard", "lambda_anc"])
def test_it_is_far_from_a_formula_without_one_of_the_terms(nets, missing):
    at, contrast, _ = nets
    assert distance(contrast, at, of(**{missing: 0.0})) > 8 * TOLERANCE


@pytest.mark.slow
def test_it_is_far_from_a_formula_of_the_wrong_sign(nets):
    at, contrast, _ = nets
    assert distance(contrast, at, of(), sign=+1) > 8 * TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
def test_what_contrast_adds_is_the_gain_and_a_dropped_prompt_gets_none(nets, level):
    """The prediction holds though a quarter of the batch has weight 0: 0.75 lambda is refuted."""
    at, contrast, sft = nets
    x_t, t, y = places(at, t=level)
    v, v_sft = velocity(contrast, x_t, t, y), velocity(sft, x_t, t, y)
    found = gain(v, v_sft, reference_clips(at, y).expand_as(v))
    assert predicted(of()) == 0.5
    assert found.s == pytest.approx(0.5, abs=0.02) and found.r2 > 0.99
    weaker = 0.75 * 0.5 / (1 - 0.75 * 0.5 + 0.5)
    assert abs(found.s - weaker) > 5 * abs(found.s - 0.5)
    y[:] = EMPTY
    v, v_sft = velocity(contrast, x_t, t, y), velocity(sft, x_t, t, y)
    assert abs(gain(v, v_sft, reference_clips(at, y * 0).expand_as(v)).s) < 0.03


@pytest.mark.slow
def test_guidance_multiplies_the_gain(nets):
    """v_g = guided SFT + g s (v_sft + x_ref), Eq. T5; without the factor g it is refuted."""
    at, contrast, sft = nets
    x_t, t, y = places(at, t=0.8)
    g, empty = 3.0, torch.full_like(y, EMPTY)

    def guided(model: nn.Module) -> Tensor:
        v_neg = velocity(model, x_t, t, empty)
        return v_neg + g * (velocity(model, x_t, t, y) - v_neg)

    added = guided(contrast) - guided(sft)
    want = predicted(of()) * (velocity(sft, x_t, t, y) + reference_clips(at, y))
    assert ((added - g * want).norm() / (g * want).norm()).item() < 0.1
    assert ((added - want).norm() / want.norm()).item() > 1


@pytest.mark.parametrize("sampled", ["sampled", "marginal"])
def test_the_loss_is_stationary_at_the_formula_and_nowhere_near_it(sampled):
    """The gradient of Eq. 6 at v*, against 1 and x_t: zero within 4 standard errors of its mean."""
    at, config = world(), of()
    torch.manual_seed(2)
    b = batch(at, 0, with_values(config, {"train.batch": 2048}))
    y, eps = b.text[:, 0].argmax(1), noise.normal(b.key, b.x.shape)
    x_t = flow.interpolate(b.x, eps, b.t)

    def worst(sign: int) -> float:
        v = optimum(at, x_t, b.t, y, config.loss, sign).float().requires_grad_()
        out = velocity_loss(
            v,
            b.x,
            eps,
            rand_latents=b.x_rand,
            hard_latents=b.x_hard,
            reference=at.reference(x_t).float(),
            negative_noise=sampled,
            noise_key=b.key,
            weight=b.weight,
            **{name.removeprefix("loss."): value for name, value in ALL.items()},
        )
        out.loss.backward()
        each = torch.stack([v.grad, v.grad * x_t]).double()  # per channel and pixel
        each = each.mean((3, 4, 5))  # [2, B, C]: clips are independent, pixels of a clip share y
        error = each.std(1) / math.sqrt(each.shape[1])
        return (each.mean(1) / error).abs().max().item()

    assert worst(-1) < 4
    assert worst(+1) > 20
