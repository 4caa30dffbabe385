"""The cost of a step: what is counted, by hand."""

from __future__ import annotations

import json
import time

import pytest
import torch

from direct.common import ranks
from direct.common.errors import UserError
from direct.common.progress import silent
from direct.config import Run
from direct.measure import cost, standin
from direct.settings import with_values
from direct.train import step
from direct.train.batch import load_passes
from direct.train.engine import Engine


@pytest.fixture
def config(small):
    return small(measure__kind="cost", measure__iterations=4, train__batch=2)


@pytest.mark.slow
def test_peak_bytes_by_hand():
    def work():
        a, b = torch.zeros(1000, 1000), torch.zeros(500, 1000)  # 4 MB, 2 MB
        c = a + 1  # 4 MB
        del a, c
        return b, torch.zeros(250, 1000)

    before = torch.zeros(3000, 1000)
    assert cost.peak_bytes(work) == pytest.approx(10_000_000, abs=100)  # torch holds a scalar
    assert before.shape == (3000, 1000)


@pytest.mark.slow
def test_each_method_holds_what_its_loss_needs(config, tmp_path):
    data, written = standin.clips(config, tmp_path), tmp_path / "velocities"
    cost._write(config, data, written)
    with torch.device("meta"):
        weights = 4 * sum(p.numel() for p in standin.random_transformer(config).parameters())
    clip = 4 * data.latents([0]).numel()
    cost._two_steps(config, data)
    peak = {
        name: cost.peak_bytes(lambda own=own: cost._two_steps(own, data))
        for name, own in cost.methods(config).items()
    }
    peak["cached"] = cost.peak_bytes(lambda: cost._two_steps(config, data, written))
    assert peak["fm"] > 4 * weights  # weights, gradient, two moments
    assert weights <= peak["sft"] - peak["fm"] < 1.5 * weights, "the reference"
    assert 2 * 2 * clip <= peak["direct"] - peak["sft"] < 20 * 2 * clip, "two negatives, batch of 2"
    assert peak["direct"] - peak["cached"] == pytest.approx(weights, rel=0.2), "no reference"


def test_every_second_goes_to_its_part(config, tmp_path, monkeypatch):
    """On a clock that only the parts themselves move."""
    clock, data = [0.0], standin.clips(config, tmp_path)
    monkeypatch.setattr(cost, "now", lambda: clock[0])

    def moving(call, seconds):
        def inner(*arguments, **options):
            clock[0] += seconds
            return call(*arguments, **options)

        return inner

    class Slow(Engine):
        __call__ = moving(Engine.__call__, 3)
        backward = moving(Engine.backward, 5)
        step = moving(Engine.step, 2)

    model = standin.random_transformer(config).requires_grad_(True)
    reference = moving(standin.random_transformer(config).requires_grad_(False), 7)
    monkeypatch.setattr(cost, "load_passes", moving(load_passes, 11))
    monkeypatch.setattr(step, "velocity_loss", moving(step.velocity_loss, 13))
    own = cost.methods(config)
    parts = {
        name: cost.iteration(Slow(model, config.train), reference, data, 0, own[name])
        for name in own
    }
    same = {"data": 11, "forward": 3, "loss": 13, "backward": 5, "update": 2}
    assert parts["fm"] == same | {"reference": 0, "seconds_per_iteration": 34}
    assert parts["sft"] == parts["direct"] == same | {"reference": 7, "seconds_per_iteration": 41}


def test_methods_take_turns_and_blocks_are_medians(config, tmp_path, monkeypatch):
    order = []

    def fake(running, reference, data, step, own):
        loss = own.loss
        name = "direct" if loss.lambda_hard else "sft" if loss.lambda_anc else "fm"
        order.append("cached" if isinstance(reference, cost.Velocities) else name)
        return dict.fromkeys((*cost.PARTS, "seconds_per_iteration"), float(step))

    monkeypatch.setattr(cost, "iteration", fake)
    monkeypatch.setattr(cost, "_start", lambda config: (None, lambda: None))
    monkeypatch.setattr(cost, "WARM_UP", 1)
    config = with_values(config, {"measure.iterations": 24})
    seconds = cost._interleaved(config, None, tmp_path, silent)
    records = cost._records(seconds, dict.fromkeys(cost.METHODS, 1.5))
    assert order[:4] == ["fm", "sft", "direct", "cached"]
    assert order[4:12] == [*order[1:4], "fm", "direct", "cached", "fm", "sft"]
    assert len(order) == 4 * 25 and len(records) == cost.BLOCKS
    scores = [record["scores"] for record in records]
    assert [s["sft.forward"] for s in scores] == [1.5 + 2 * i for i in range(12)]  # after warm-up
    assert {s["direct.memory_gb"] for s in scores} == {1.5}


@pytest.fixture
def alone():
    """No process group after the test: others are about processes without one."""
    yield
    ranks.stop()


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["torch", "fsdp"])
def test_end_to_end(config, tmp_path, monkeypatch, alone, engine):
    """By the process's own time, and the least of it, since a busy machine stops it anywhere."""
    monkeypatch.setattr(cost, "now", time.process_time)
    config = with_values(config, {"train.engine": engine})
    records = cost.measure(Run(config, tmp_path / "cache", tmp_path / "run"))
    assert [record["prompt"] for record in records] == [f"block {i:02d}" for i in (1, 2, 3, 4)]
    names = {
        f"{method}.{reading}"
        for method in cost.METHODS
        for reading in (*cost.PARTS, "seconds_per_iteration", "memory_gb")
    }
    for scores in (record["scores"] for record in records):
        assert set(scores) == names and min(scores.values()) >= 0
        assert scores["direct.seconds_per_iteration"] > 0 and scores["sft.reference"] > 0
        assert scores["fm.reference"] == 0 < scores["cached.reference"]
    read, computed = (
        min(record["scores"][f"{name}.reference"] for record in records)
        for name in ("cached", "sft")
    )
    assert read < computed
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"details.json"}
    details = json.loads((tmp_path / "run" / "details.json").read_text())
    assert details["provenance"]["parameters"] > 1000 and not (tmp_path / "cache").exists()


def test_clips_that_are_cut_over_ranks_have_no_cost_in_one_process(config, tmp_path):
    halves = with_values(config, {"train.engine": "fsdp", "train.context_parallel": 2})
    with pytest.raises(UserError, match=r"context_parallel=2 cuts clips .* in one process"):
        cost.measure(Run(halves, tmp_path / "cache", tmp_path / "run"))
    assert not (tmp_path / "run").exists()
