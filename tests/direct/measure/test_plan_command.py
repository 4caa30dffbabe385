"""python -m direct.plan: what it refuses, in one sentence and before anything is counted."""

from __future__ import annotations

import sys

import pytest

from direct.common.errors import UserError
from direct.measure import plan, plan_command


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--hours 0 --gpus 8", "--hours 0 is no number of hours"),
        ("--hours -3 --gpus 8", "--hours -3 is no number of hours"),
        ("--hours nan --gpus 8", "--hours nan is no number of hours"),
        ("--hours inf --gpus 8", "--hours inf is no number of hours"),
        ("--hours 5 --gpus 8 --disk 0", "--disk 0 is no number of GB"),
        ("--hours 5", "give --gpus as well"),
        ("--hours 5 --gpus 0", "--gpus 0 is no number of GPUs; use 1 to 100000"),
        ("--hours 5 --gpus 1000000000", "is no number of GPUs"),
        ("--hours 5 --gpus 8 --gpu h100", "h100-80g"),
        ("--hours 5 --gpus 8 --profile tiny", "--profile is what --hours answers; leave it out"),
        ("--hours 5 --gpus 8 --cells 3", "--cells is what --hours answers"),
        ("--hours 5 --gpus 8 --set train.steps=3", "--set is what --hours answers"),
        ("--hours 5 --gpus 8 --compare", "two questions"),
        ("--hours 5 --gpus 8 --share 2", "--share 2 is no share"),
        ("--disk 5", "--disk is for --hours"),
        ("--cheap setup.py", "setup.py cannot be read as JSON"),
    ],
)
def test_bad_values_are_one_sentence(monkeypatch, arguments, said):
    monkeypatch.setattr(plan, "count", lambda config: pytest.fail("counted before it refused"))
    monkeypatch.setattr(plan, "paper_share", lambda: 0.34)
    monkeypatch.setattr(plan, "report", lambda *_: pytest.fail("counted before it refused"))
    monkeypatch.setattr(sys, "argv", ["direct.plan", *arguments.split()])
    with pytest.raises(UserError) as error:
        plan_command.main()
    assert said in str(error.value) and "\n" not in str(error.value)
