"""A clip as the method sees it: its pixels are made when they are asked for, and not before."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from direct.data.sample import Sample
from direct.prepare.encode import clip_key


def test_a_clip_is_rendered_when_it_is_called_and_cannot_be_changed():
    asked = []

    def video():
        asked.append(1)
        return np.zeros((1, 2, 2, 3), np.uint8)

    sample = Sample("a", "a ball", "gravity", video, lambda axis, rng: None, record=3)
    assert asked == [] and sample.video().shape == (1, 2, 2, 3) and asked == [1]
    with pytest.raises(FrozenInstanceError):
        sample.prompt = "another"


def test_it_is_named_by_its_content_or_else_by_id_and_prompt():
    def named(*values, **more):
        return clip_key(Sample(*values, "gravity", None, None, None, **more))

    assert named("a", "x") != named("a", "y") and named("a", "x") != named("b", "x")
    assert named("a", "x", content="0f") == named("b", "y", content="0f") != named("a", "x")
