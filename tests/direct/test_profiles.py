"""Profiles are valid, distinct, and what the paper says."""

from __future__ import annotations

import pytest

from direct.common.errors import UserError
from direct.identity import identity
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
