"""The world and the benchmarks seen through `source`."""

from __future__ import annotations

import numpy as np
import pytest

from direct.common.errors import UserError
from direct.config import Run
from direct.data import benchmarks, source
from direct.evaluate import judge
from direct.profiles import profile
from direct.settings import with_values


@pytest.mark.parametrize(("name", "needed"), [("frames", 17), ("height", 32), ("width", 32)])
def test_the_world_draws_clips_of_one_size(tmp_path, name, needed):
    config = with_values(profile("tiny"), {f"model.{name}": 16})
    with pytest.raises(UserError, match=f"model.{name}=16, but .*; set model.{name}={needed}, or"):
        source.training(Run(config, tmp_path))


def test_world_through_source(tmp_path):
    config = with_values(profile("tiny"), {"data.clips": 40, "evaluate.prompts": 20})
    training, evaluation = source.training(Run(config, tmp_path)), source.evaluation(config)
    assert len(training) == 40 and len(evaluation) == 20
    assert len({item.id for item in training + evaluation}) == 60
    assert not {item.prompt for item in training} & {item.prompt for item in evaluation}
    assert len({item.law for item in training}) > 3
    assert all(item.law == item.law.strip().lower() for item in training)
    video = training[0].video()
    assert video.shape == (17, 32, 32, 3) and video.dtype == np.uint8
    assert [item.prompt for item in source.training(Run(config, tmp_path))] == [
        item.prompt for item in training
    ]


def test_a_perturbation_changes_the_prompt_along_its_axis(tmp_path):
    config = with_values(profile("tiny"), {"data.clips": 40})
    changed = 0
    for item in source.training(Run(config, tmp_path)):
        for axis in config.micro.axes:
            prompt = item.perturb(axis, np.random.default_rng(0))
            changed += prompt not in (None, item.prompt)
    assert changed > 40


def test_validation_prompts_are_apart_from_evaluation_prompts():
    values = {"evaluate.prompts": 30, "evaluate.split": "validation"}
    validation = source.evaluation(with_values(profile("tiny"), values))
    evaluation = source.evaluation(with_values(profile("tiny"), {"evaluate.prompts": 30}))
    assert not {item.prompt for item in validation} & {item.prompt for item in evaluation}


def test_what_is_not_here_is_refused_by_name(tmp_path):
    paper = profile("wan2.1-t2v-1.3b")
    with pytest.raises(UserError, match=r"manifest.jsonl is missing"):
        source.training(Run(paper, tmp_path))
    with pytest.raises(UserError, match=r"evaluate.judge=videophy"):
        judge.scorer(paper)


def test_the_papers_profile_takes_the_benchmarks_prompts(monkeypatch):
    from direct.profiles import profile
    from direct.settings import override

    config = profile("wan2.1-t2v-1.3b")
    assert [item.prompt for item in source.evaluation(config)] == [
        prompt.caption for prompt in benchmarks.videophy()
    ]
    with pytest.raises(UserError, match=r"345.*344"):
        source.evaluation(override(config, "evaluate.prompts=345"))
    with pytest.raises(UserError, match="validation"):
        source.evaluation(override(config, "evaluate.split=validation"))
    with pytest.raises(UserError, match="videophy or worldmodelbench"):
        source.evaluation(override(config, "evaluate.judge=world"))
