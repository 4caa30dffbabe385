"""Points of one training run: trained once, equal to cells that were trained alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from direct.config import Evaluate, Run
from direct.identity import identity
from direct.train import loop, trajectory
from direct.train.loop import sft_config
from direct.train.step import train_step

FILES = ("metrics.jsonl", "transformer/diffusion_pytorch_model.safetensors")


def bytes_of(run):
    return [(run / name).read_bytes() for name in FILES]


@pytest.fixture
def counted(monkeypatch):
    """How many steps were trained since the last look."""
    done, step = [], train_step

    def counting(*arguments):
        done.append(1)
        return step(*arguments)

    monkeypatch.setattr(loop, "train_step", counting)

    def look():
        count = len(done)
        done.clear()
        return count

    return look


@pytest.mark.slow
def test_points_of_a_run_equal_cells_trained_alone(small, tmp_path, counted):
    points = {steps: small(train__steps=steps, train__checkpoint_every=2) for steps in (2, 3, 6)}
    for steps, config in points.items():
        loop.train(Run(config, tmp_path / "alone", tmp_path / f"alone-{steps}"))
    assert counted() == 2 + 3 + 6
    for order, costs in (((6, 2, 3), (6, 0, 0)), ((2, 6, 3), (2, 4, 0)), ((2, 3, 6), (2, 1, 3))):
        cache = tmp_path / f"cache-{order}"
        trajectory.want(points.values(), cache)
        for steps, cost in zip(order, costs, strict=True):
            run = tmp_path / f"shared-{order}-{steps}"
            loop.train(Run(points[steps], cache, run))
            assert counted() == cost, order
            assert bytes_of(run) == bytes_of(tmp_path / f"alone-{steps}")
            assert not (run / "checkpoints").exists()


@pytest.mark.slow
def test_a_cell_judged_on_other_prompts_trains_nothing(small, tmp_path, counted):
    config = small()
    other = replace(config, evaluate=Evaluate(judge="world", prompts=3, split="validation"))
    trajectory.want([config, other], tmp_path / "cache")
    for cell in (config, other):
        loop.train(Run(cell, tmp_path / "cache", tmp_path / identity(cell)))
    assert counted() == 6
    assert bytes_of(tmp_path / identity(config)) == bytes_of(tmp_path / identity(other))


@pytest.mark.slow
def test_nothing_is_kept_for_a_run_that_one_cell_has_alone(small, tmp_path):
    config = small(train__steps=2)
    trajectory.want([config, small(train__steps=0), small(loss__lambda_hard=0.1)], tmp_path / "c")
    loop.train(Run(config, tmp_path / "c", tmp_path / "run"))
    assert not (tmp_path / "c" / "trajectory").exists()


@pytest.mark.slow
def test_a_finished_run_is_extended(small, tmp_path, counted):
    """From 4 steps to 6 two are trained; what is shorter, or differs, starts where it must."""
    cache = tmp_path / "cache"

    def train(name, **values):
        loop.train(Run(small(train__keep_last=True, **values), cache, tmp_path / name))
        return counted()

    assert train("four", train__steps=4) == 4
    assert train("six", train__steps=6) == 2
    assert train("again", train__steps=6, sample__guidance=1.5) == 0
    assert train("three", train__steps=3) == 3, "a longer run's last step is of no use to it"
    assert train("other", train__steps=6, loss__lambda_hard=0.1) == 6
    kept = sorted(path.name for path in (cache / "trajectory").rglob("step-*") if path.is_dir())
    assert kept == ["step-00000003", "step-00000006", "step-00000006"]
    loop.train(Run(small(train__steps=6), tmp_path / "alone", tmp_path / "whole"))
    assert bytes_of(tmp_path / "six") == bytes_of(tmp_path / "whole")
    assert bytes_of(tmp_path / "again") == bytes_of(tmp_path / "whole")


@pytest.mark.slow
def test_edited_code_starts_a_trajectory_of_its_own(small, tmp_path, counted, monkeypatch):
    config = small(train__keep_last=True)
    loop.train(Run(config, tmp_path / "cache", tmp_path / "before"))
    monkeypatch.setattr(trajectory.fingerprint, "code", lambda *roots: "edited")
    loop.train(Run(config, tmp_path / "cache", tmp_path / "after"))
    assert counted() == 12


@pytest.mark.slow
def test_a_damaged_shared_checkpoint_is_set_aside_and_the_one_before_taken(
    small, tmp_path, counted, capsys
):
    points = [small(train__steps=steps) for steps in (2, 4, 6)]
    cache = tmp_path / "cache"
    trajectory.want(points, cache)
    loop.train(Run(points[1], cache, tmp_path / "four"))
    weights = cache / "trajectory" / trajectory.name(points[0]) / "step-00000004"
    data = bytearray((weights / "weights.safetensors").read_bytes())
    data[-1] ^= 1
    (weights / "weights.safetensors").write_bytes(data)
    counted()
    loop.train(Run(points[2], cache, tmp_path / "six"))
    assert counted() == 4 and "weights.safetensors is damaged" in capsys.readouterr().out
    loop.train(Run(points[2], tmp_path / "other", tmp_path / "alone"))
    assert bytes_of(tmp_path / "six") == bytes_of(tmp_path / "alone")
    assert weights.is_dir(), "published anew"


def test_only_training_names_a_run(small):
    config = small()
    same = {
        "train__steps": 3,
        "train__checkpoint_every": 1,
        "train__keep_last": True,
        "evaluate__prompts": 2,
        "sample__guidance": 1.5,
    }
    assert trajectory.name(small(**same)) == trajectory.name(config)
    for setting in (
        {"seed": 1},
        {"loss__lambda_hard": 0.1},
        {"train__learning_rate": 0.5},
        {"macro__clusters": 2},
        {"hard_sample__steps": 1},
    ):
        assert trajectory.name(small(**setting)) != trajectory.name(config)
    halves = [small(train__init="sft", train__steps=steps) for steps in (4, 6)]
    assert sft_config(halves[0]).train.steps == 2
    assert trajectory.name(halves[0]) != trajectory.name(halves[1]), "their SFT parts differ"
