"""A table of `--grid`: its rows, baseline, axis and name; and what is refused."""

import pytest

from direct.common.errors import UserError
from direct.profiles import profile
from direct.settings import override
from sweeps.grid import name_of, table_of

BASE = profile("tiny")


def test_one_axis_is_a_row_a_value_against_the_profiles_own():
    table = table_of(["train.learning_rate=1e-4,3e-4,1e-3"], BASE)
    assert [row.label for row in table.rows] == ["1e-4", "3e-4", "1e-3"]
    assert [row.values["train.learning_rate"] for row in table.rows] == [1e-4, 3e-4, 1e-3]
    assert table.baseline == "3e-4" and table.axis == table.header == "train.learning_rate"
    assert name_of(table) == ["train.learning_rate=0.0001,0.0003,0.001"]


def test_two_axes_are_all_combinations_without_an_axis():
    base = override(BASE, "sample.guidance=3")
    table = table_of(["loss.lambda_rand=0.001,0.05", "sample.guidance=1,3"], base)
    labels = ["0.001, 1", "0.001, 3", "0.05, 1", "0.05, 3"]
    assert [row.label for row in table.rows] == labels
    assert table.rows[2].values == {"loss.lambda_rand": 0.05, "sample.guidance": 1.0}
    assert table.baseline == "0.001, 3", "the first value where the profile's own is not there"
    assert table.axis is None and table.plot == "heatmap"
    three = table_of(
        ["macro.clusters=8,32", "loss.lambda_rand=0,0.05", "sample.guidance=1,3"], BASE
    )
    assert three.plot == "rows" and len(three.rows) == 8
    assert table.header == "loss.lambda_rand, sample.guidance"


def test_the_baseline_follows_what_is_set():
    base = override(BASE, "train.learning_rate=1e-3")
    assert table_of(["train.learning_rate=1e-4,1e-3"], base).baseline == "1e-3"


@pytest.mark.parametrize(
    ("text", "axis"),
    [
        ("train.init=base,sft", None),
        ("micro.axes=kinematics,forces", None),
        ("macro.exclude_same_law=true,false", None),
        ("sample.gain=-0.1,0.1", None),
        ("loss.lambda_hard=0,0.02", None),
        ("loss.lambda_hard=0,0.02,0.1", "loss.lambda_hard"),
        ("macro.clusters=8,32", "macro.clusters"),
    ],
)
def test_a_logarithmic_axis_is_for_positive_numbers(text, axis):
    table = table_of([text], BASE)
    setting, _, values = text.partition("=")
    assert table.axis == axis and len(table.rows) == len(values.split(","))
    assert all(
        type(row.values[setting]) is not str or setting == "train.init" for row in table.rows
    )


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["train.learning_rate"], "lists no values"),
        (["train.learning_rate="], "lists no values"),
        (["train.learning_rate=1e-4,,1e-3"], "lists no values"),
        (["train.learning_rate=1e-4"], "has one value"),
        (["train.learning_rate=1e-4,0.0001"], "the value 0.0001 twice"),
        (["loss.lambda_hard=0,0.0"], "the value 0.0 twice"),
        (["train.learning_rat=1,2"], "did you mean learning_rate"),
        (["train.steps=1,many"], "'many' is not of type int"),
        (["macro.clusters=8,1"], "macro.clusters=1 leaves no other cluster"),
        (["train.init=base,sfd"], "did you mean sft"),
        (["seed=0,1"], "give --seeds"),
        (["profile=tiny,large"], "give --profile"),
        (["macro.clusters=8,16"] * 2, "macro.clusters is given twice"),
    ],
)
def test_what_is_no_grid_is_one_sentence(texts, said):
    with pytest.raises(UserError, match=r"^--grid ") as error:
        table_of(texts, BASE)
    assert said in str(error.value) and "\n" not in str(error.value)
