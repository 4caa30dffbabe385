"""What is refused: numbers out of their range, and settings that do not go together."""

from __future__ import annotations

import pytest

from direct.common.errors import UserError
from direct.profiles import profile
from direct.settings import override, settings, with_values
from direct.valid import RANGES

TINY = profile("tiny")


@pytest.mark.parametrize("name", RANGES)
def test_the_ends_of_a_range_are_taken_and_what_is_beyond_is_not(name):
    """Read apart from `override`: at an end, other rules may say no."""
    least, most = RANGES[name]
    assert type(settings(TINY)[name]) is int and least <= settings(TINY)[name] <= most
    for value in (least, most):
        try:
            with_values(TINY, {name: value})
        except UserError as error:
            assert f"{name}={value} must be at" not in str(error)
    for value in (least - 1, most + 1):
        with pytest.raises(UserError, match=f"{name}=.*must be at (least|most)"):
            with_values(TINY, {name: value})


def test_adapter_that_would_start_from_sft_is_refused():
    with pytest.raises(UserError, match=r"train.init=sft with train.lora_rank"):
        with_values(profile("wan2.1-t2v-14b"), {"train.init": "sft"})


@pytest.mark.parametrize(
    ("assignments", "said"),
    [
        (("render.cache=1.5",), r"render.cache=1.5 must be in \[0, 1\]"),
        (("render.frames=half", "model.frames=18"), "render.frames=half: model.frames=18 is even"),
        (("render.solver=unipc", "hard_sample.shift=0"), "set hard_sample.shift=3"),
    ],
)
def test_renderings_that_cannot_be_are_refused(assignments, said):
    with pytest.raises(UserError, match=said):
        override(profile("tiny"), *assignments)


@pytest.mark.parametrize(
    ("assignments", "said"),
    [
        (("loss.lambda_rand=0.9", "loss.lambda_anc=-1"), "lambda_anc=-1.0 is negative"),
        (("micro.axes=", "train.epsilon=0"), "micro.axes is empty"),
        (
            ("train.engine=deepspeed", "train.context_parallel=2"),
            "needs train.engine=fsdp, not deep",
        ),
        (("macro.clusters=9", "data.clips=8"), "macro.clusters=9 is above data.clips=8"),
        (("evaluate.judge=world", "loss.threshold=0"), "threshold=0.0 must be positive"),
    ],
)
def test_the_first_of_two_faults_is_named(assignments, said):
    with pytest.raises(UserError, match=said):
        override(TINY, *assignments)
