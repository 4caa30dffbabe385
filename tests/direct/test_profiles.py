"""Profiles are valid, distinct, and what the paper says."""

from __future__ import annotations

import math

import pytest

from direct.common.errors import UserError
from direct.identity import identity
from direct.models.hub import located
from direct.profiles import PROFILES, profile
from direct.settings import with_values


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_is_valid_and_named_by_all_it_holds(name):
    config = profile(name)
    assert config.profile == name and identity(config) == identity(profile(name))
    changed = {identity(with_values(config, {"seed": seed})) for seed in range(3)}
    assert len(changed) == 3


def test_an_unknown_profile_names_its_neighbours():
    with pytest.raises(UserError, match=r"wan2\.1-t2v-1\.3b"):
        profile("wan2.1-t2v-1.4b")


def test_wan_14b_is_trained_as_an_adapter():
    config = profile("wan2.1-t2v-14b")
    assert config.model.pipeline.startswith("Wan-AI/Wan2.1-T2V-14B-Diffusers@")
    assert config.train.lora_rank > 0


def test_the_papers_profile_is_its_appendix_d():
    """AdamW at 1e-6 with decay 3e-2, 15,000 steps of 8; 50 Euler steps at guidance 5."""
    config = profile("wan2.1-t2v-1.3b")
    train, loss, sample = config.train, config.loss, config.sample
    assert (train.learning_rate, train.weight_decay, train.epsilon) == (1e-6, 3e-2, 1e-10)
    assert (train.steps, train.batch, train.lora_rank) == (15_000, 8, 0)
    assert (loss.lambda_rand, loss.lambda_hard, loss.lambda_anc) == (0.005, 0.02, 0.2)
    assert (sample.steps, sample.guidance) == (50, 5.0)
    assert (config.macro.clusters, config.micro.min_cosine, config.micro.keep) == (32, 0.87, 3)


def test_wan_22_is_sampled_as_its_authors_do():
    """Their wan_t2v_A14B.py (guidance of low and of high noise) and wan_ti2v_5B.py."""
    two, one = profile("wan2.2-t2v-a14b"), profile("wan2.2-ti2v-5b")
    assert two.sample == two.hard_sample and one.sample == one.hard_sample
    a14b, ti2v = two.sample, one.sample
    assert (a14b.steps, a14b.shift, a14b.guidance_low, a14b.guidance) == (40, 12.0, 3.0, 4.0)
    assert (ti2v.steps, ti2v.shift, ti2v.guidance_low, ti2v.guidance) == (50, 5.0, 0.0, 5.0)
    assert (two.train.expert, one.train.expert) == ("high_noise", "only")
    size = one.model
    assert (size.width, size.height, size.fps) == (1280, 704, 24)
    assert size.width % 32 == size.height % 32 == 0  # strides of 16, patches of 2


def test_hub_weights_are_named_by_their_commit():
    for name in PROFILES:
        pipeline = profile(name).model.pipeline
        assert pipeline == "tiny" or located(pipeline)[1] is not None


def test_ltxs_shift_is_its_schedulers_for_the_clips_tokens():
    config = profile("ltx-video")
    model = config.model
    tokens = ((model.frames - 1) // 8 + 1) * (model.height // 32) * (model.width // 32)
    shift = math.exp(0.95 + 1.1 * (tokens - 1024) / 3072)
    assert config.sample.shift == config.train.shift == pytest.approx(shift, abs=0.005)
