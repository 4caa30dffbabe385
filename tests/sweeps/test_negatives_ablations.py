"""A gain about a prompt's own negatives beside MiNS: rows differ in what they are about."""

from dataclasses import replace

import pytest

from direct.identity import canonical
from direct.measure.gain import predicted
from direct.profiles import profile
from sweeps import negatives_ablations as own
from sweeps.ablations import ABLATIONS
from sweeps.mechanism_ablations import UNTRAINED
from sweeps.schema import cells

TINY = profile("tiny")


def rows(name):
    return {cell.row: cell.config for cell in cells(ABLATIONS[name], TINY, (0,))}


def test_the_gain_is_the_one_that_theory_predicts_for_mins_and_trains_sft_alone():
    found, known = rows("own_negatives_drawn"), rows("sampling_unguided")
    gain = found[own.OWN]
    assert gain.sample.gain == pytest.approx(predicted(found[own.MINS]), abs=1e-9)
    assert gain.sample.gain_about == "negatives" and gain.sample.guidance == 1
    about_the_mean = replace(gain, sample=replace(gain.sample, gain_about="pool"))
    assert about_the_mean == found[UNTRAINED] == known[UNTRAINED]
    assert canonical(gain, "training") == canonical(found["+ SFT"], "training")
    assert found[own.MINS] == known[own.MINS] and found["+ SFT"] == known["+ SFT"]


def test_mins_in_expectation_differs_from_mins_in_its_draws_alone():
    found, drawn = rows("own_negatives"), rows("own_negatives_drawn")
    loss = found[own.IN_EXPECTATION].loss
    assert (loss.hard_negative, loss.negative_noise) == ("mean", "marginal")
    loss = replace(loss, hard_negative="sampled", negative_noise="sampled")
    assert replace(found[own.IN_EXPECTATION], loss=loss) == drawn[own.MINS]
    shared = found.keys() & drawn.keys()
    assert len(shared) == 3 and all(found[label] == drawn[label] for label in shared)


def test_seeds_are_fresh_for_mins():
    for table in own.NEGATIVES:
        assert table.seeds == tuple(range(6, 14)) and table.extra
        assert not set(table.seeds) & set(ABLATIONS["sampling_unguided"].seeds)
