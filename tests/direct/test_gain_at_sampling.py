"""A gain and a rule of guidance at sampling: the formulas, and nothing at their neutral values."""

import itertools
from dataclasses import replace

import pytest
import torch

from direct import flow, sampling
from direct.common.errors import UserError
from direct.config import Run, Sampling
from direct.evaluate.clips import generate
from direct.identity import canonical, identity
from direct.profiles import profile
from direct.settings import override

SHAPE = (3, 4, 2, 4, 4)


class Curved:
    """A velocity field that depends on everything a transformer's does."""

    dtype = torch.float32


def velocity(net, x_t, t, text):
    t = t.view(-1, 1, 1, 1, 1)
    return torch.sin(x_t) * (1 - t) + text.mean((1, 2)).view(-1, 1, 1, 1, 1) * x_t - t


@pytest.fixture
def given():
    generator = torch.Generator().manual_seed(3)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    return {
        "text": draw(3, 5, 6),
        "negative": draw(1, 5, 6),
        "eps": draw(*SHAPE),
        "m": draw(*SHAPE),
    }


def sampled(given, settings, **more):
    return sampling.sample(
        Curved(), given["text"], given["negative"], given["eps"], settings, velocity, **more
    )


def euler(given, settings, combine):
    """Euler steps of `combine(v, v_neg)`, written out."""
    x = given["eps"]
    levels = torch.from_numpy(flow.sampling_grid(settings.steps, settings.shift)).float()
    for t, t_next in itertools.pairwise(levels):
        at = t.expand(len(x))
        v = velocity(None, x, at, given["text"])
        v_neg = velocity(None, x, at, given["negative"].expand_as(given["text"]))
        x = x + (t_next - t) * combine(v, v_neg)
    return x


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_without_a_gain_the_sampler_is_the_plain_one_to_the_bit(given, guidance):
    settings = Sampling(steps=6, guidance=guidance, shift=2.0)
    plain = sampled(given, settings)
    assert torch.equal(sampled(given, settings, x_ref=given["m"]), plain)
    assert torch.equal(sampled(given, replace(settings, gain_about="clusters")), plain)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_a_gain_is_on_the_prompted_branch_before_guidance(given, guidance):
    settings = Sampling(steps=6, guidance=guidance, shift=2.0, gain=0.07)
    found = sampled(given, settings, x_ref=given["m"])
    moved = lambda v: v + 0.07 * (v + given["m"])  # noqa: E731
    if guidance == 1:
        expected = euler(given, settings, lambda v, _: moved(v))
    else:
        expected = euler(given, settings, lambda v, n: n + guidance * (moved(v) - n))
    torch.testing.assert_close(found, expected)


def test_a_gain_of_minus_lambda_is_delta_fms_correction(given):
    """`0.95 v - 0.05 m` of their sampler, m the mean latent, where there is no guidance."""
    settings = Sampling(steps=6, guidance=1.0, shift=2.0, gain=-0.05)
    found = sampled(given, settings, x_ref=given["m"])
    torch.testing.assert_close(
        found, euler(given, settings, lambda v, _: 0.95 * v - 0.05 * given["m"])
    )


def test_cfg_zero_scales_the_negative_velocity_optimally(given):
    settings = Sampling(steps=6, guidance=4.0, shift=2.0, guidance_rule="cfg_zero")

    def rule(v, n):
        rows = []
        for a, b in zip(v.double(), n.double(), strict=True):
            s = (a * b).sum() / (b * b).sum()
            rest = torch.stack([(a - c * b).square().sum() for c in (s - 1e-3, s, s + 1e-3)])
            assert rest.argmin() == 1, "the scale is the optimal one"
            rows.append(s * b + 4 * (a - s * b))
        return torch.stack(rows).float()

    torch.testing.assert_close(sampled(given, settings), euler(given, settings, rule))


def test_what_cannot_matter_names_nothing():
    tiny = profile("tiny")
    assert identity(override(tiny, "sample.gain_about=clusters")) == identity(tiny)
    unguided = override(tiny, "sample.guidance=1")
    assert identity(override(unguided, "sample.guidance_rule=cfg_zero")) == identity(unguided)
    assert identity(override(tiny, "sample.guidance_rule=cfg_zero")) != identity(tiny)
    assert identity(override(tiny, "sample.gain=0.02")) != identity(tiny)


def test_hard_negatives_settings_matter_to_a_gain_about_them_alone():
    """Of SFT and of the base, which train on none; and to no training."""
    others = ("micro.keep=2", "hard_sample.steps=4", "render.solver=unipc")
    for start in (("loss.lambda_rand=0", "loss.lambda_hard=0"), ("train.steps=0",)):
        sft = override(profile("tiny"), *start, "sample.gain=0.05")
        own = override(sft, "sample.gain_about=negatives")
        assert identity(own) != identity(sft)
        for other in others:
            assert identity(override(sft, other)) == identity(sft), other
            changed = override(own, other)
            assert identity(changed) != identity(own), other
            assert canonical(changed, "data") != canonical(own, "data"), "it is prepared"
            assert canonical(changed, "training") == canonical(sft, "training"), other
        off = override(own, "sample.gain=0", others[0])
        assert identity(off) == identity(override(sft, "sample.gain=0"))


@pytest.mark.parametrize(
    ("base", "setting", "said"),
    [
        (
            "wan2.1-t2v-1.3b",
            "sample.gain=0.1",
            "a benchmark's prompts .* use pool, clusters or zero",
        ),
        ("tiny", "evaluate.prompts_file=my.txt", "prompts of evaluate.prompts_file=my.txt have no"),
        ("tiny", "evaluate.captions=upsampled", "up-sampled captions have no perturbed ones"),
    ],
)
def test_a_gain_about_negatives_needs_prompts_that_are_perturbed(base, setting, said):
    asked = ("sample.gain=0.1", setting) if base == "tiny" else (setting,)
    with pytest.raises(UserError, match=said):
        override(profile(base), "sample.gain_about=negatives", *asked)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("sample.gain=-1", "above -1"),
        ("hard_sample.gain=0.1", "as it is; use 0"),
        ("sample.guidance=0.5", "guidance=0.5 is below 1, which is no guidance; use 1 or more"),
        ("hard_sample.guidance=0", "below 1"),
    ],
)
def test_gains_that_make_no_sense_are_refused(setting, said):
    with pytest.raises(UserError, match=said):
        override(profile("tiny"), setting)


@pytest.mark.slow
def test_a_cell_with_a_gain_differs_by_it_alone(small, tmp_path):
    """The base model's clips, with a gain about nothing, the pool, other clusters and negatives."""
    found = {}
    for name, values in {
        "plain": {},
        "off": {"sample__gain_about": "zero"},
        "pool": {"sample__gain": 0.1},
        "clusters": {"sample__gain": 0.1, "sample__gain_about": "clusters"},
        "negatives": {"sample__gain": 0.1, "sample__gain_about": "negatives"},
        "zero": {"sample__gain": 0.1, "sample__gain_about": "zero"},
    }.items():
        run = Run(small(train__steps=0, **values), tmp_path / "cache", tmp_path / name)
        found[name] = generate(run).read_bytes()
    assert found["plain"] == found["off"]
    assert len(set(found.values())) == 5
