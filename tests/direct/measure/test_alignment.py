"""Gradient alignment against separate passes in float64, and against the trainer's own update."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from direct import flow, noise
from direct.common.errors import UserError
from direct.config import Run
from direct.measure import alignment
from direct.measure.kinds import Negatives
from direct.models import pipeline
from direct.prepare import shared
from direct.settings import with_values
from direct.train.batch import load_batch
from direct.train.engine import Engine
from direct.train.step import train_step


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("alignment") / "cache"


@pytest.fixture
def config(small):
    return small(measure__kind="alignment", measure__steps=3, train__prompt_dropout=0.3)


class Setting:
    """Everything that one step needs, with fresh weights."""

    def __init__(self, config, cache):
        self.config, self.data = config, shared.open_shared(Run(config, cache))
        self.batch = load_batch(config, self.data, 0)
        self.negatives = Negatives(Run(config, cache), self.data)(0, self.batch)
        model = pipeline.load_transformer(config.model.pipeline).train().requires_grad_(True)
        self.engine = Engine(model, config.train)
        self.reference = pipeline.load_transformer(config.model.pipeline).requires_grad_(False)

    def step(self, kinds=None, config=None):
        chosen = {name: self.negatives[name] for name in kinds or self.negatives}
        return alignment.step(
            self.engine, self.reference, self.batch, chosen, config or self.config
        )

    def weights(self):
        return torch.cat([p.detach().reshape(-1) for p in self.engine.model.parameters()])


def separately(setting, x, eps_k, weight):
    """grad of (1/B) sum w |v - (eps_k - x)|^2 / n in float64: its own forward and backward pass."""
    batch = setting.batch
    model = pipeline.load_transformer(setting.config.model.pipeline).double().requires_grad_(True)
    eps = noise.normal(batch.key, batch.x.shape)
    x_t = flow.interpolate(batch.x, eps, batch.t).double()
    v = model(x_t, 1000 * batch.t.double(), batch.text.double(), return_dict=False)[0]
    d = (v - (eps_k - x).double()).square().flatten(1).mean(1)
    loss = (weight * d).mean()
    return torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(model.parameters()))])


@pytest.mark.slow
def test_cosines_are_those_of_separate_passes(config, cache):
    setting = Setting(config, cache)
    eps = noise.normal(setting.batch.key, setting.batch.x.shape)
    g_fm = separately(setting, setting.batch.x, eps, torch.ones(4))
    scores = setting.step()["scores"]
    assert 0 < setting.batch.weight[:, 1].sum() < 4, "some samples are contrasted, some are not"
    for kind in alignment.GRADIENTS:
        own = setting.negatives[kind]
        g = separately(setting, own.x, own.eps, own.weight)
        expected = float(g_fm @ g / (g_fm.norm() * g.norm()))
        assert scores[f"{kind}.cosine"] == pytest.approx(expected, abs=2e-4)


def test_the_update_is_the_trainers(config, cache):
    """MaNS and anchor, whose noises are the same in both; rounding apart."""
    plain = with_values(config, {"loss.lambda_hard": 0.0, "train.learning_rate": 1e-3})
    ours, its = Setting(config, cache), Setting(config, cache)
    before = ours.weights()
    for setting in (ours, its):  # 1e-3: steps that can be told apart
        setting.engine = Engine(setting.engine.model, plain.train)
    ours.step(["mans"], plain)
    train_step(its.engine, its.reference, replace(its.batch, x_hard=None), plain)
    moved = (its.weights() - before).norm()
    assert moved > 0
    assert (ours.weights() - its.weights()).norm() < 0.02 * moved


@pytest.mark.slow
def test_micro_batches_change_nothing(config, cache):
    whole, parts = Setting(config, cache), Setting(config, cache)
    split = with_values(config, {"train.micro_batch": 1})
    first, second = whole.step()["scores"], parts.step(config=split)["scores"]
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert second[name] == pytest.approx(value, abs=1e-4), name


def test_telemetry_by_hand(config, cache):
    setting = Setting(config, cache)
    x, key = setting.batch.x, setting.batch.key
    eps, own = noise.normal(key, x.shape), setting.negatives["mans"]
    v = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    told = alignment.telemetry(v, x, eps, own, config)
    e_fm, e_neg = (v - (eps - x)).double(), (v - (own.eps - own.x)).double()
    delta = ((eps - x) - (own.eps - own.x)).double()
    n = x[0].numel()
    a = -(e_fm * e_neg).flatten(1).sum(1) / n
    torch.testing.assert_close(told["a"].double(), a, rtol=1e-5, atol=1e-6)
    # Eq. 9: -|u+ - v|^2 + <u+ - v, delta>
    nine = (-e_fm.square() - e_fm * delta).flatten(1).sum(1) / n
    torch.testing.assert_close(a, nine)
    squares = delta.square().flatten(1).sum(1) / n
    torch.testing.assert_close(told["delta"].double(), squares, rtol=1e-5, atol=1e-6)
    gap = (own.x - x).double().square().flatten(1).mean(1)
    torch.testing.assert_close(told["delta_x"].double(), gap, rtol=1e-5, atol=1e-6)
    w = own.weight.double()
    g_fm, g_neg = e_fm.flatten(), (w.view(-1, 1, 1, 1, 1) * e_neg).flatten()
    cosine = g_fm @ g_neg / (g_fm.norm() * g_neg.norm())  # of the gradients with respect to v
    torch.testing.assert_close(told["cosine"].double(), cosine, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_killed_and_resumed_it_measures_the_same(config, cache, tmp_path):
    config = with_values(config, {"train.checkpoint_every": 1})
    whole = alignment.measure(Run(config, cache, tmp_path / "whole"))

    class Killed(BaseException):
        pass

    def kill(stage, done, total):
        if (stage, done) == ("train", 2):
            raise Killed

    with pytest.raises(Killed):
        alignment.measure(Run(config, cache, tmp_path / "killed", progress=kill))
    again = alignment.measure(Run(config, cache, tmp_path / "killed"))
    assert again == whole and [record["prompt"] for record in whole] == [
        "step 0001",
        "step 0002",
        "step 0003",
    ]
    assert not (tmp_path / "killed" / "checkpoints").exists()
    first, second = (
        json.loads((tmp_path / name / "details.json").read_text()) for name in ("whole", "killed")
    )
    assert first["samples"] == second["samples"]
    assert set(first["samples"]) == {
        f"{kind}.{reading}" for kind in alignment.PROPOSITION for reading in ("a", "delta_x")
    }
    assert np.shape(first["samples"]["hard.a"]) == (3, 4)
    assert set(first["provenance"]["step_ratio"]) == {"without_anchor", "with_anchor"}
    assert min(first["provenance"]["step_ratio"].values()) > 0
    kinds = {name.split(".")[0] for name in whole[0]["scores"]}
    assert kinds == {*alignment.GRADIENTS, *alignment.PROPOSITION}


@pytest.mark.parametrize(
    "values",
    [{"loss__lambda_rand": 0.0}, {"loss__lambda_hard": 0.0}, {"macro__sampling": "uniform"}],
)
def test_without_both_negatives_it_refuses(small, tmp_path, values):
    config = small(measure__kind="alignment", **values)
    with pytest.raises(UserError, match="MaNS and MiNS"):
        alignment.measure(Run(config, tmp_path, tmp_path / "run"))
