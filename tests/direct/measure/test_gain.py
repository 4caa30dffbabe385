"""The algebra of docs/theory.md in closed form, and the measurement of a training's gain."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from direct import sampling, velocity_loss
from direct.common.errors import UserError
from direct.config import Measure, Run, Sampling
from direct.identity import identity
from direct.measure import gain as measured
from direct.measure.gain import LEVELS, gain, predicted
from direct.models import pipeline
from direct.negatives import macro
from direct.prepare import shared
from direct.profiles import profile
from direct.settings import override, with_values

WEIGHTS = [(0.005, 0.0, 0.2), (0.05, 0.02, 0.2), (0.05, 0.05, 0.2), (0.05, 0.0, 0.0)]


def config(rand: float, hard: float, anchor: float):
    weights = {"loss.lambda_rand": rand, "loss.lambda_hard": hard, "loss.lambda_anc": anchor}
    return with_values(profile("tiny"), weights)


def normals(*shapes: tuple[int, ...]) -> list[Tensor]:
    g = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=g, dtype=torch.float64) for shape in shapes]


@pytest.mark.parametrize(("rand", "hard", "anchor"), WEIGHTS)
def test_the_minimiser_is_the_sft_optimum_with_a_gain(rand, hard, anchor):
    """Eq. T1 and T2 from conditional means, and Delta-FM's correction as the inverse (T4)."""
    u, v_ref, x_rand, x_hard = normals(*[(7, 4, 2, 3, 3)] * 4)
    weight = rand + hard
    v_star = (u + rand * x_rand + hard * x_hard + anchor * v_ref) / (1 - weight + anchor)
    v_sft = (u + anchor * v_ref) / (1 + anchor)
    x_ref = (rand * x_rand + hard * x_hard) / weight
    s = predicted(config(rand, hard, anchor))
    torch.testing.assert_close(v_star, v_sft + s * (v_sft + x_ref), rtol=0, atol=1e-14)
    found = gain(v_star, v_sft, x_ref)
    assert found.s == pytest.approx(s, rel=1e-12) and found.r2 == pytest.approx(1, abs=1e-12)
    taken = weight / (1 + anchor)
    torch.testing.assert_close((1 - taken) * v_star - taken * x_ref, v_sft, rtol=0, atol=1e-14)


def test_predictions_are_those_of_the_papers_and_of_ten_times_their_weights():
    assert predicted(config(0.005, 0.0, 0.2)) == pytest.approx(0.0042, abs=5e-5)
    assert predicted(config(0.05, 0.0, 0.2)) == pytest.approx(0.0435, abs=5e-5)
    assert predicted(config(0.05, 0.05, 0.2)) == pytest.approx(0.0909, abs=5e-5)
    assert predicted(config(0.005, 0.02, 0.2)) == pytest.approx(0.0213, abs=5e-5)
    assert predicted(config(0.05, 0.0, 0.0)) == pytest.approx(0.05 / 0.95)


def test_the_regression_separates_a_gain_from_what_is_orthogonal_to_it():
    """d = 0.1 f + r with r orthogonal to f and as long as 0.1 f: R2 is one half."""
    v, x_ref, r = normals(*[(3, 4, 2, 3, 3)] * 3)
    f = v + x_ref
    r = r - (r * f).sum() / (f * f).sum() * f
    r = 0.1 * r * f.norm() / r.norm()
    found = gain(v + 0.1 * f + r, v, x_ref)
    assert found.s == pytest.approx(0.1, rel=1e-12) and found.r2 == pytest.approx(0.5, rel=1e-12)
    assert gain(v - 0.1 * f, v, x_ref).s == pytest.approx(-0.1, rel=1e-12)
    assert gain(v, v, x_ref).s == 0


def test_guidance_multiplies_the_gain_and_a_correction_outside_leaves_a_rest():
    """Eq. T5, and what Delta-FM's correction leaves of it when v_neg is not contrasted."""
    v, v_neg, x_ref = normals(*[(5, 4, 2, 3, 3)] * 3)
    s, g = 0.2, 3.0
    plain = v_neg + g * (v - v_neg)
    one = v_neg + g * (v + s * (v + x_ref) - v_neg)
    torch.testing.assert_close(one, plain + g * s * (v + x_ref))
    taken = s / (1 + s)
    rest = taken * (g - 1) * (v_neg + x_ref)
    torch.testing.assert_close((1 - taken) * one - taken * x_ref, plain + rest)
    neg_too = v_neg + s * (v_neg + x_ref)  # Delta-FM contrasts dropped labels, too
    both = neg_too + g * (v + s * (v + x_ref) - neg_too)
    torch.testing.assert_close(both, plain + s * (plain + x_ref))
    torch.testing.assert_close((1 - taken) * both - taken * x_ref, plain)


def test_a_reference_that_answers_as_the_empty_prompt_makes_the_gain_stronger_guidance():
    """Eq. T7."""
    v, v_neg = normals((5, 4), (5, 4))
    s, g = 0.2, 3.0
    gained = v_neg + g * (v + s * (v - v_neg) - v_neg)
    torch.testing.assert_close(gained, v_neg + g * (1 + s) * (v - v_neg))


def test_cfg_zero_star_takes_the_factor_g_off_a_gain_about_zero():
    v, v_neg = normals((5, 72), (5, 72))
    s, g = 0.2, 3.0

    def rule(v: Tensor) -> Tensor:
        scale = (v * v_neg).sum(1, keepdim=True) / (v_neg * v_neg).sum(1, keepdim=True)
        return scale * v_neg + g * (v - scale * v_neg)

    torch.testing.assert_close(rule((1 + s) * v), (1 + s) * rule(v))


def test_what_k_means_for_the_reference_clip():
    """The mean over the other clusters is x_bar + p / (1 - p) (x_bar - x_c), as `macro` draws."""
    (x,) = normals((60, 5))
    labels = np.random.default_rng(0).integers(0, 6, 60)
    pools = macro.exclusion(labels)
    u = (np.arange(6000) + 0.5) / 6000
    x_bar = x.mean(0)
    for i in range(0, 60, 7):
        mine = labels == labels[i]
        p, x_c = mine.mean(), x[mine].mean(0)
        draws = macro.draw(pools, np.full(len(u), i), u)
        assert not mine[draws].any()
        want = x_bar + p / (1 - p) * (x_bar - x_c)
        torch.testing.assert_close(x[~mine].mean(0), want)
        torch.testing.assert_close(x[draws].mean(0), want, rtol=0, atol=0.02)


def test_the_mean_of_the_hard_negatives_gives_the_mean_gradient():
    v, x, eps, eps_hard = (z.float() for z in normals(*[(2, 4, 2, 3, 3)] * 4))
    hard = normals((3, 2, 4, 2, 3, 3))[0].float()

    def gradient(x_hard: Tensor) -> Tensor:
        at = v.clone().requires_grad_()
        given = {"hard_latents": x_hard, "hard_noise": eps_hard, "lambda_hard": 0.3}
        velocity_loss(at, x, eps, **given).loss.backward()
        return at.grad

    mean = torch.stack([gradient(one) for one in hard]).mean(0)
    torch.testing.assert_close(gradient(hard.mean(0)), mean, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("ratio", [1.5, 3.5, 25.0])
def test_what_the_mask_leaves_of_a_small_mean_under_normal_errors(ratio):
    """erf(c / (tau sqrt 2)) - 2 (c / tau) phi(c / tau); e = m - tau z, z on exact quantiles."""
    count, m = 1 << 18, 0.01
    z = torch.special.ndtri((torch.arange(count, dtype=torch.float64) + 0.5) / count)[None]
    v = torch.full_like(z, m).requires_grad_()
    velocity_loss(v, torch.zeros_like(z), z, threshold=ratio, backend="eager").loss.backward()
    phi = math.exp(-(ratio**2) / 2) / math.sqrt(2 * math.pi)
    want = math.erf(ratio / math.sqrt(2)) - 2 * ratio * phi
    assert v.grad.sum().item() / 2 / m == pytest.approx(want, abs=2e-3)


@pytest.mark.parametrize(("s", "sigma"), [(0.3, 0.5), (-0.2, 0.5), (0.3, 2.0)])
def test_a_gain_changes_a_gaussians_spread_and_moves_its_mean(s, sigma):
    """Eq. T6 by the project's sampler: sigma^(1 + s), and s kappa (mu - x_ref)."""
    mu, x_ref = 1.0, -0.5

    def velocity(net: object, x: Tensor, t: Tensor, text: Tensor) -> Tensor:
        t = t.view(-1, 1, 1, 1, 1)
        slope = (t - (1 - t) * sigma**2) / (t**2 + (1 - t) ** 2 * sigma**2)
        v = slope * (x - (1 - t) * mu) - mu
        return v + s * (v + x_ref)

    start = torch.tensor([-1.0, 0.0, 1.0]).view(3, 1, 1, 1, 1)
    net, text = SimpleNamespace(dtype=torch.float32), torch.zeros(3, 1, 1)
    settings = Sampling(steps=2000, guidance=1.0, shift=1.0)
    end = sampling.sample(net, text, text[:1], start, settings, velocity).flatten().tolist()
    assert end[2] - end[1] == pytest.approx(sigma ** (1 + s), rel=0.01)
    t = (np.arange(100_000) + 0.5) / 100_000
    kappa = ((sigma**2 / (t**2 + (1 - t) ** 2 * sigma**2)) ** ((1 + s) / 2)).mean()
    assert end[1] == pytest.approx(mu + s * kappa * (mu - x_ref), abs=0.01)


@pytest.fixture
def setting(small, tmp_path):
    """Configuration, shared data and the clips' latents of a run with both negatives."""
    found = small(loss__lambda_rand=0.05, loss__lambda_hard=0.1, macro__exclude_same_law=False)
    data = shared.open_shared(Run(found, tmp_path))
    return found, data, data.latents(np.arange(len(data.samples)))


def test_reference_clips_of_each_kind(setting, small, tmp_path):
    found, data, x = setting
    group, chosen = data.pools.group, [0, 3, 7]
    drawn = set(shared.drawn_prompts(found, data.hard_prompts))
    rand = torch.stack([x[group != group[i]].mean(0) for i in chosen])
    near = [[p for p in data.hard_prompts[i] if p in drawn] for i in chosen]
    hard = torch.stack([data.hard(prompts).mean(0) for prompts in near])
    own = measured.reference(found, data, chosen)
    torch.testing.assert_close(own, (rand + 2 * hard) / 3)
    pool = measured.reference(found, data, chosen, "pool")
    torch.testing.assert_close(pool, x.mean(0).expand(3, *x.shape[1:]))
    for kind in ("uniform", "batch"):
        other = small(loss__lambda_rand=0.05, loss__lambda_hard=0.0, macro__sampling=kind)
        uniform = measured.reference(other, shared.open_shared(Run(other, tmp_path)), chosen)
        rest = [torch.cat([x[:i], x[i + 1 :]]).mean(0) for i in chosen]
        torch.testing.assert_close(uniform, torch.stack(rest))
    with pytest.raises(UserError, match="no term contrasts"):
        measured.reference(small(loss__lambda_rand=0.0, loss__lambda_hard=0.0), data, chosen)


@pytest.mark.parametrize("about", ["own", "pool"])
def test_measure_finds_a_gain_that_was_put_in(small, tmp_path, monkeypatch, about):
    """Two stand-ins for transformers, the contrasted one with s = 0.02 (1 + t) about a reference.

    A cluster is a function of the prompt, so that a stand-in knows its reference from the text.
    """
    found = small(loss__lambda_rand=0.05, loss__lambda_hard=0.0, macro__exclude_same_law=False)
    (x,) = normals((12, 4, 2, 4, 4))
    data = shared.open_shared(Run(found, tmp_path))
    data = replace(data, latents=lambda chosen: x[list(chosen)].float())
    monkeypatch.setattr(shared, "open_shared", lambda run: data)
    everything = range(len(data.samples))
    text = data.text([item.prompt for item in data.samples])
    clips = measured.reference(found, data, everything, about)

    class Stand:
        config = SimpleNamespace(patch_size=(1, 2, 2))

        def __init__(self, name: str) -> None:
            self.contrast = name == "contrast"

        def __call__(self, x_t, timestep, asked, return_dict):
            t = (timestep / 1000).view(-1, 1, 1, 1, 1)
            v = 0.1 * x_t * t  # small, so that the reference weighs
            row = torch.stack([(one == text).all(2).all(1).nonzero()[0, 0] for one in asked])
            return (v + self.contrast * 0.02 * (1 + t) * (v + clips[row]),)

    monkeypatch.setattr(pipeline, "load_transformer", lambda place: Stand(place.parent.name))
    places = tmp_path / "contrast", tmp_path / "sft"
    seen = measured.measure(Run(found, tmp_path, places[0]), places[1], clips=5)
    assert seen["clips"] == 5 and seen["predicted"] == pytest.approx(0.05 / 1.15)
    name = {"own": "", "pool": "pool_"}
    for t, level in itertools.zip_longest(LEVELS, seen["levels"]):
        assert level["t"] == t
        assert level[name[about] + "s"] == pytest.approx(0.02 * (1 + t), rel=1e-4)
        assert level[name[about] + "r2"] == pytest.approx(1, abs=1e-6)
        assert level["share"] == pytest.approx(level["s"] / seen["predicted"])
    other = "pool_r2" if about == "own" else "r2"
    assert all(level[other] < 0.99 for level in seen["levels"])


@pytest.mark.slow
def test_measure_of_two_real_trainings(small, tmp_path):
    """End to end: an SFT run measured against itself has no gain; another one has some number."""
    from direct.train.loop import train

    contrast = small(loss__lambda_rand=0.2, loss__lambda_hard=0.2, train__steps=2)
    sft = small(loss__lambda_rand=0.0, loss__lambda_hard=0.0, train__steps=2)
    for name, cell in (("contrast", contrast), ("sft", sft)):
        train(Run(cell, tmp_path, tmp_path / name))
    places = tmp_path / "contrast", tmp_path / "sft"
    seen = measured.measure(Run(contrast, tmp_path, places[0]), places[1])
    assert seen["clips"] <= 12 and len(seen["levels"]) == len(LEVELS)
    assert all(0 < level["r2"] < 1 for level in seen["levels"])
    same = measured.measure(Run(contrast, tmp_path, places[1]), places[1])
    assert all(level["s"] == 0 for level in same["levels"])


@pytest.mark.slow
def test_a_cell_is_the_measurement_of_a_training_and_its_sft_twin(small, tmp_path):
    """Both are the trainings of score cells; the record of a level has what `measure` gives it."""
    cell = small(loss__lambda_rand=0.2, loss__lambda_hard=0.2, train__steps=2, measure__kind="gain")
    found = measured.records(Run(cell, tmp_path, tmp_path / "cell"))
    assert [record["prompt"] for record in found] == ["t 0.20", "t 0.50", "t 0.80", "t 0.95"]
    assert found == measured.records(Run(cell, tmp_path, tmp_path / "cell")), "resumes"
    contrast = replace(cell, measure=Measure())
    places = tmp_path / "cell", tmp_path / "cell/sft"
    seen = measured.measure(Run(contrast, tmp_path, places[0]), places[1])
    for record, level in zip(found, seen["levels"], strict=True):
        assert record["scores"] == {"predicted": predicted(cell)} | {
            name: value for name, value in level.items() if name != "t"
        }
        assert 0 < record["scores"]["apart"] < 2
    twin = measured.without_contrast(contrast)
    assert (twin.loss.lambda_rand, twin.loss.lambda_hard, twin.train) == (0, 0, contrast.train)


def test_a_measured_training_is_named_apart_from_how_it_is_sampled():
    one, *others = (
        identity(override(profile("tiny"), "measure.kind=gain", *more))
        for more in ([], ["sample.guidance=1"], ["evaluate.prompts=7"], ["measure.steps=3"])
    )
    assert {one} == set(others)
    for more in ("train.steps=7", "loss.lambda_hard=0", "macro.clusters=8"):
        assert identity(override(profile("tiny"), "measure.kind=gain", more)) != one
