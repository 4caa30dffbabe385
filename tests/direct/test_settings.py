"""Settings by name: typed, changed without touching others, refused in one sentence."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from direct.common.errors import UserError
from direct.profiles import profile
from direct.settings import override, seed_list, settings, validate

TINY = profile("tiny")


@pytest.mark.parametrize(
    ("assignment", "name", "value"),
    [
        ("loss.lambda_hard=0.05", "loss.lambda_hard", 0.05),
        ("loss.threshold=1e30", "loss.threshold", 1e30),
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
        ("loss.threshold=inf", "threshold=inf is not a finite number"),  # JSON has no infinity
        ("loss.threshold=-inf", "threshold=-inf is not a finite number"),
        ("loss.threshold=nan", "threshold=nan is not a finite number"),
        ("loss.threshold=0", "threshold=0.0 must be positive"),
        ("loss.lambda_rand=-0.1", "lambda_rand=-0.1 is negative"),
        ("loss.lambda_rand=1.3", "not convex.*= -0.12"),
        ("macro.clusters=1", "leaves no other cluster"),
        ("macro.clusters=385", "above data.clips=384"),
        ("evaluate.prompts=0", "evaluate.prompts=0 must be at least 1"),
        ("train.steps=-1", "train.steps=-1 must be at least 0"),
        ("train.batch=100000000000", "train.batch=100000000000 must be at most 65536"),
        ("data.clips=1000000000000", "data.clips=1000000000000 must be at most 10000000"),
        ("model.text_length=-1", "model.text_length=-1 must be at least 1"),
        ("model.text_length=0", "model.text_length=0 must be at least 1"),
        ("seed=-1", "seed=-1 must be at least 0"),
        (f"seed={2**63}", "seed=9223372036854775808 must be at most 9223372036854775807"),
        (f"train.steps={10**4000}", r"train.steps=about 10\^4000 must be at most"),
        (f"train.steps={'9' * 5000}", "is not of type int"),
        ("train.lora_alpha=0", "train.lora_alpha=0 must be at least 1"),
        ("x" * 5000 + "=1", "no setting 'xxx"),
        ("y" * 5000, "has no '='"),
        ("micro.axes=forces,forces", "micro.axes=forces,forces names an axis twice"),
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
    assert "\n" not in str(error.value) and len(str(error.value)) < 800


def test_a_setting_given_twice_is_refused():
    with pytest.raises(UserError, match=r"--set train\.steps is given twice; leave one out"):
        override(TINY, "train.steps=7", "loss.lambda_hard=0.1", " train.steps =7")


@pytest.mark.parametrize(
    "text", ["0,0", "a", "-1", "0,,1", "", "0.5", f"{2**63}", "9" * 5000, "1," * 3000]
)
def test_what_is_no_list_of_seeds_is_refused(text):
    with pytest.raises(UserError, match=r"write 0,1,2$") as error:
        seed_list(text)
    assert len(str(error.value)) < 250
    assert seed_list("3,0") == (3, 0) and seed_list(f"{2**63 - 1}") == (2**63 - 1,)


def test_settings_are_checked_together_when_all_are_changed():
    """The order of --set does not matter: 0.9 + 0.9 - 1 is convex only with a larger anchor."""
    assert override(TINY, "loss.lambda_rand=0.9", "loss.lambda_anc=1").loss.lambda_rand == 0.9
    with pytest.raises(UserError, match="an adapter's reference"):
        override(TINY, "train.init=sft", "train.lora_rank=4")


def test_a_whole_number_is_the_real_one_that_it_stands_for():
    """In a process of its own: within one, equal configurations share what is known of them."""
    names = set()
    for value in ("3", "3.0"):
        code = (
            "from direct.identity import identity; from direct.profiles import profile\n"
            "from direct.settings import with_values\n"
            f"print(identity(with_values(profile('tiny'), {{'sample.guidance': {value}}})))"
        )
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        names.add(found.stdout)
    assert len(names) == 1
    config = replace(TINY, sample=replace(TINY.sample, guidance=3))
    checked = settings(validate(config))
    assert type(checked["sample.guidance"]) is float and type(checked["sample.steps"]) is int
