"""The dataclasses of a run: frozen, valid by default, and how a later setting is declared."""

from dataclasses import FrozenInstanceError, dataclass, fields, replace
from pathlib import Path

import pytest

from direct.config import AXES, NEUTRAL, NO_EFFECT, Config, Model, Run, Sampling, Train, added
from direct.settings import settings, validate


def test_the_defaults_are_the_papers_and_can_be_run():
    config = Config(profile="mine")
    assert validate(config) == config
    assert (config.loss.lambda_rand, config.loss.lambda_hard) == (0.005, 0.02)
    assert (config.macro.clusters, config.micro.keep, config.micro.axes) == (32, 3, AXES)
    assert (config.train.learning_rate, config.train.weight_decay) == (1e-6, 0.03)
    assert config.sample.steps == 50 and config.data.clips == 11_299


def test_nothing_of_a_configuration_changes_in_place():
    config = Config(profile="mine")
    for node, name in ((config, "seed"), (config.train, "steps"), (Run(config, Path()), "cache")):
        with pytest.raises(FrozenInstanceError):
            setattr(node, name, 1)
    with pytest.raises(TypeError):
        Train(1)  # by name alone


@pytest.mark.parametrize(
    ("pipeline", "peer"),
    [
        ("peer:mochi", "mochi"),
        ("tiny", ""),
        ("owner/name@0a", ""),
        ("peer:", ""),
        ("", ""),
    ],
)
def test_a_peer_is_named_in_the_pipelines_place(pipeline, peer):
    assert Model(pipeline=pipeline).peer == peer


def test_a_setting_that_came_later_has_a_neutral_value():
    @dataclass(frozen=True)
    class Later:
        plain: int = added(3)
        other: float = added(0.0, 0.5, **{NO_EFFECT: True})

    assert Later() == Later(3, 0.5)
    plain, other = fields(Later)
    assert plain.metadata == {NEUTRAL: 3}
    assert other.metadata == {NEUTRAL: 0.0, NO_EFFECT: True}


def test_both_samplings_are_settings_of_their_own():
    config = Config(profile="mine", hard_sample=Sampling(steps=7))
    flat = settings(config)
    assert flat["hard_sample.steps"] == 7 and flat["sample.steps"] == 50
    assert replace(config, seed=1).hard_sample is config.hard_sample
