"""What can be done with GPUs, hours and disk: held to the plan's own steps, and its edges."""

from __future__ import annotations

import math

import pytest

from direct.measure import afford, counted, plan

# Of Wan 2.1 1.3B, rounded: the tests ask how numbers are put together, not what they are.
COUNTS = counted.Counts(
    item=2,
    weights=1_420_000_000,
    trained=1_420_000_000,
    layers=30,
    latent=(16, 21, 60, 104),
    tokens=32_760,
    text_dim=4096,
    linear=90e12,
    attention=190e12,
    kept=150e9,
    checkpointed=3e9,
    hidden=1e8,
    widest=1e9,
    encode=2e14,
    decode=4e14,
    experts=1,
)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(plan, "count", lambda config: COUNTS)


def rung(gpus=8, hours=1e6, disk=math.inf, name="h100-80g", number=0):
    have = afford.Have(name, gpus, hours, disk)
    return afford.Rung(*afford.RUNGS[number], have, 0.34)


@pytest.mark.slow
def test_hours_are_preparation_on_all_gpus_and_cells_side_by_side():
    sixteen = rung(16)
    spent = {row.name: row.hours for row in sixteen.steps.values()}
    assert sixteen.ranks == 8, "of a batch of 8"
    prepared = (spent["encode"] + spent["perturb"] + spent["render"]) / 16
    cell = (spent["train"] + spent["evaluate"]) / 8
    assert sixteen.hours(1, 1) == pytest.approx(prepared + 2 * cell)  # 4 cells, 2 at a time
    alone = spent["evaluate"] / 8  # of the base, which is not trained
    assert sixteen.hours(2, 1) == pytest.approx(prepared + 4 * cell + alone)


def test_seeds_share_negatives():
    """One seed draws nearly all that clips keep, so a second one renders few more."""
    one, three = (plan.drawn(rung().config, seeds) for seeds in (1, 3))
    assert 33_000 < one < three < 33_897
    more = rung().hours(1, 3) - rung().hours(1, 1)
    spent = {row.name: row.hours for row in rung().steps.values()}
    assert more == pytest.approx((spent["train"] + spent["evaluate"]) * 8 / 8, rel=0.03)


def test_ranks_divide_the_batch():
    assert [rung(n).ranks for n in (1, 2, 3, 5, 8, 100)] == [1, 2, 2, 4, 8, 8]
    assert rung(8, number=3).ranks == 1, "the torch engine is for one"


def test_disk_by_hand():
    """Models, 16 bytes a weight of each cell, two more checkpoints while one trains, caches."""
    rows = rung().steps
    kept = 4 * 16 * 1.42e9 + 4 * rows["evaluate"].disk
    models = 4 * 1.42e9 + 4 * 5.68e9 + 2 * 7.62e9
    expected = models + kept + 24 * 1.42e9 + rows["encode"].disk + rows["render"].disk
    assert rung().disk(1, 1) == pytest.approx(expected)


def test_exactly_enough_is_enough():
    hours, disk = rung().hours(1, 2), rung().disk(1, 2)
    assert rung(hours=hours, disk=disk).most == (1, 2)
    assert rung(hours=hours * 0.999, disk=disk).most == (1, 1)
    assert rung(hours=hours, disk=disk * 0.999).most == (1, 1)
    assert rung(hours=1).most is None and rung(disk=1).most is None
    assert rung().most == (5, 5)


@pytest.mark.slow
def test_the_largest_profile_that_is_affordable_is_taken():
    hours = rung(number=1).hours(1, 1)
    said, found = afford.answer(afford.Have("h100-80g", 8, hours, math.inf), 0.34)
    lines = said.splitlines()
    assert found and "not enough time: Table S3, 1 seed (4 cells)" in lines[2]
    assert lines[3] == "* --profile wan2.1-t2v-1.3b --set hard_sample.steps=20"
    (command,) = [line for line in lines if "sweeps.run" in line]
    assert "lambda_hard" in command and command.endswith("--workers 1 --gpus-per-cell 8")
    (gives_up,) = [line for line in lines if line.startswith("gives up")]
    assert "hard_sample.steps 20 (paper: 50)" in gives_up and "tables 1, S2, S1, S5" in gives_up
    assert "3 seeds" in gives_up and "no GPU has confirmed" in said


def test_disk_alone_can_lack():
    said, _ = afford.answer(afford.Have("h100-80g", 8, 1e6, 200e9), 0.34)
    assert "not enough disk: Table S3" in said and "200 GB of disk" in said


def test_nothing_is_gives_the_small_profile():
    said, found = afford.answer(afford.Have("rtx4090-24g", 1, 1, math.inf), 0.34)
    assert not found and "does not fit: train takes" in said and "make lambda_hard" in said


def test_a_language_model_that_does_not_fit_goes_elsewhere():
    small = rung(gpus=1, name="rtx4090-24g", number=3)
    assert "perturb" in [row.name for row in small.too_large]
    lacks = [row.name for row in small.too_large if row.name != "perturb"]
    assert (small.most is None) == bool(lacks)
    said = "\n".join(afford._advice(small))
    assert "perturb --server" in said
