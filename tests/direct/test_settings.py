"""Settings by name: typed, changed without touching others, refused in one sentence."""

from __future__ import annotations

import math

import pytest

from direct.common.errors import UserError
from direct.profiles import profile
from direct.settings import override, settings, with_values

TINY = profile("tiny")


@pytest.mark.parametrize(
    ("assignment", "name", "value"),
    [
        ("loss.lambda_hard=0.05", "loss.lambda_hard", 0.05),
        ("loss.threshold=inf", "loss.threshold", math.inf),
        ("train.steps=0", "train.steps", 0),
        ("macro.exclude_same_law=False", "macro.exclude_same_law", False),
        ("micro.axes=forces, material", "micro.axes", ("forces", "material")),
        ("loss.negative_noise=marginal", "loss.negative_noise", "marginal"),
        ("evaluate.prompts=7", "evaluate.prompts", 7),
    ],
)
def test_a_setting_is_of_its_type_and_the_only_one_changed(assignment, name, value):
    before, after = settings(TINY), settings(override(TINY, assignment))
    assert after[name] == value and type(after[name]) is type(value)
    assert {key for key in before if before[key] != after[key]} <= {name}
    assert before == settings(TINY), "the profile itself stays"


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("loss.lambda_hard", "has no '='"),
        ("loss.lambda_hrd=0.1", "no setting 'lambda_hrd'.*lambda_hard"),
        ("los.lambda_hard=0.1", "no setting 'los'.*loss"),
        ("loss=0.1", "name one setting; known: .*lambda_hard"),
        ("seed.x=1", "name one setting"),
        ("train.steps=many", "'many' is not of type int"),
        ("train.steps=1.5", "'1.5' is not of type int"),
        ("macro.exclude_same_law=yes", "write true or false"),
        ("loss.negative_noise=none", "sampled"),
        ("loss.lambda_hard=nan", "lambda_hard=nan is not a finite number"),
        ("loss.lambda_anc=inf", "lambda_anc=inf is not a finite number"),
        ("train.learning_rate=-inf", "learning_rate=-inf is not a finite number"),
        ("loss.threshold=-inf", "threshold=-inf is not a finite number"),
        ("loss.threshold=nan", "threshold=nan is not a finite number"),
        ("loss.threshold=0", "threshold=0.0 must be positive"),
        ("loss.lambda_rand=-0.1", "lambda_rand=-0.1 is negative"),
        ("loss.lambda_rand=1.3", "not convex.*= -0.12"),
        ("macro.clusters=1", "leaves no other cluster"),
        ("macro.clusters=385", "above data.clips=384"),
        ("evaluate.prompts=0", "evaluate.prompts=0 must be at least 1"),
        ("train.steps=-1", "train.steps=-1 is negative"),
        ("train.micro_batch=3", "micro_batch=3 does not divide train.batch=8"),
        ("train.learning_rate=-1", "learning_rate=-1.0 is negative"),
        ("sample.shift=-1", "sample.shift=-1.0 must be positive"),
        ("train.clip=0", "clip=0.0 must be positive"),
        ("train.beta1=1.5", "beta1=1.5 must be in"),
        ("train.weight_decay=-1", "weight_decay=-1.0 is negative"),
        ("micro.axes=magnitud", "'magnitud' is no axis; did you mean magnitude"),
        ("micro.axes=", "micro.axes is empty"),
        ("train.prompt_dropout=1", "prompt_dropout=1.0 must be in"),
        ("micro.min_cosine=1.5", "not a cosine"),
        ("model.pipeline=peer:mochi", "judged as it is; train.steps=0"),
    ],
)
def test_what_cannot_run_is_refused_in_one_sentence(assignment, said):
    with pytest.raises(UserError, match=said) as error:
        override(TINY, assignment)
    assert "\n" not in str(error.value)


def test_settings_are_checked_together_when_all_are_changed():
    """The order of --set does not matter: 0.9 + 0.9 - 1 is convex only with a larger anchor."""
    assert override(TINY, "loss.lambda_rand=0.9", "loss.lambda_anc=1").loss.lambda_rand == 0.9
    with pytest.raises(UserError, match="an adapter's reference"):
        override(TINY, "train.init=sft", "train.lora_rank=4")


def test_adapter_that_would_start_from_sft_is_refused():
    with pytest.raises(UserError, match=r"train.init=sft with train.lora_rank"):
        with_values(profile("wan2.1-t2v-14b"), {"train.init": "sft"})
