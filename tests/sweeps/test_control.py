"""The controls' words, and the warning where the positive one fails."""

import pytest
from made_up import BASE, results_of

from direct.settings import override
from sweeps import tables
from sweeps.ablations import ABLATIONS
from sweeps.control import NOT_RUN, control
from sweeps.mechanism_ablations import AGAIN, RANDOM
from sweeps.schema import cells

TABLE = ABLATIONS["control"]


def built(effect=0.0, again=0.0, seeds=(0, 1, 2), without=()):
    """Random negatives' PC raised by `effect`, the second draw's by `again` more."""
    found = results_of(TABLE, seeds)
    planned = cells(TABLE, BASE, seeds)
    for cell in planned:
        lift = {"SFT": 0.0, RANDOM: effect, AGAIN: effect + again}[cell.row]
        scores = found[cell.id]["scores"]
        scores["PC"] = [value + lift for value in scores["PC"]]
    for cell in planned:
        if cell.row in without:
            del found[cell.id]
    return tables.build(TABLE, planned, found)


def test_an_effect_that_is_found_is_said_first_and_warns_of_nothing():
    found = control(built(effect=0.1))
    assert found.positive.startswith("This set-up can show an effect: random negatives, 0.05 minus")
    assert "PC +1" in found.positive and "p < 0.001" in found.positive and found.warning == ""
    assert "0 of 2 differences found" in found.negative


@pytest.mark.parametrize("effect", [0.0, -0.1])
def test_an_effect_that_is_not_there_or_goes_the_other_way_warns_every_table(effect):
    found = control(built(effect))
    assert found.positive.startswith("This set-up has not shown that it can find an effect: ")
    assert found.warning.startswith("The positive control failed here (")


def test_a_difference_between_trainings_that_differ_in_a_seed_is_counted():
    assert "1 of 2 differences found" in control(built(effect=0.1, again=0.1)).negative


@pytest.mark.parametrize("table", [None, built(0.1, without=(RANDOM,))])
def test_what_has_not_run_says_nothing(table):
    assert control(table) == NOT_RUN


def test_rows_of_one_cell_are_no_control():
    """Without training steps every row is the base model: that nothing differs says nothing."""
    untrained = override(BASE, "train.steps=0")
    planned = cells(TABLE, untrained, (0, 1, 2))
    results = results_of(TABLE)
    made = dict(zip((c.id for c in planned), results.values(), strict=False))
    assert len({cell.id for cell in planned}) == 3
    assert control(tables.build(TABLE, planned, made)) == NOT_RUN
