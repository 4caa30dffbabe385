"""Plug-ins' terms: their gradient, their columns, and nothing at all without them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from direct.common.errors import UserError
from direct.config import Run
from direct.models import pipeline
from direct.plugins import carried
from direct.prepare import shared
from direct.settings import with_values
from direct.train import loop, terms
from direct.train.batch import load_batch
from direct.train.engine import Engine
from direct.train.step import train_step

TEXT = """
@plugins.target(weight=0.0, prompted=True)
def rolled(seen, *, frames: int = 1):
    return seen.eps - seen.x.roll(frames, 2)


@plugins.term(weight=0.0, reference=True)
def near(v, seen):
    return (v - seen.v_ref).abs().flatten(1).mean(1)
"""


def gradient(config, tmp_path):
    """What one step logs, and the gradient that it makes."""
    batch = load_batch(config, shared.open_shared(Run(config, tmp_path)), 0)
    model = pipeline.load_transformer(config.model.pipeline)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=torch.manual_seed(1)))
    engine = Engine(model.requires_grad_(True), replace(config.train, clip=1e9))
    engine.optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    engine.optimizer.zero_grad = lambda: None
    measured = train_step(engine, loop.frozen_reference(config, engine), batch, config)
    return measured, {name: p.grad.clone() for name, p in model.named_parameters()}, batch


def plus(config, **values):
    dotted = {name.replace("__", "."): value for name, value in values.items()}
    return with_values(replace(config, plugins=carried.at_hand()), dotted)


@pytest.mark.slow
def test_terms_add_their_gradients_and_their_columns(small, tmp_path, plugged):
    plugged(TEXT)
    base = small(loss__lambda_anc=0.0, train__prompt_dropout=0.5, train__batch=6)
    plain, without, batch = gradient(base, tmp_path)
    off, same, _ = gradient(plus(base), tmp_path)
    assert off == plain and all(torch.equal(same[k], g) for k, g in without.items())

    config = plus(base, rolled__weight=-0.2, near__weight=0.7)
    measured, found, _ = gradient(config, tmp_path)
    model, reference = (pipeline.load_transformer(base.model.pipeline) for _ in range(2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=torch.manual_seed(1)))
    model.requires_grad_(True)
    eps = terms.noise.normal(batch.key, batch.x.shape)
    t = batch.t.view(-1, 1, 1, 1, 1)
    inputs = ((1 - t) * batch.x + t * eps, 1000 * batch.t, batch.text)
    v, v_ref = (m(*inputs, return_dict=False)[0] for m in (model, reference))
    d = (v - eps + batch.x.roll(1, 2)).square().flatten(1).mean(1)
    on = batch.weight[:, 1]
    assert 0 < on.sum() < 6
    gap = (v - v_ref.detach()).abs().mean()
    (-0.2 * (on * d).mean() + 0.7 * gap).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(
            found[name] - without[name], parameter.grad, rtol=1e-3, atol=1e-5
        )
    assert measured["term_rolled"] == pytest.approx(float(d[on > 0].mean()), rel=1e-4)
    assert measured["term_near"] == pytest.approx(float(gap), rel=1e-4)
    added = float(-0.2 * (on * d).mean() + 0.7 * gap)
    assert measured["loss"] == pytest.approx(plain["loss"] + added, rel=1e-4)
    assert measured.keys() - plain.keys() == {"term_rolled", "term_near"}


@pytest.mark.slow
def test_a_training_with_a_term_logs_it_and_one_that_drew_its_noise_again_agrees(
    small, tmp_path, plugged
):
    plugged(TEXT)
    found = []
    for again in (False, True):
        config = plus(
            small(train__steps=2, loss__regenerate_noise=again),
            rolled__weight=0.3,
            near__weight=1.0,
        )
        loop.train(Run(config, tmp_path / "cache", tmp_path / str(again)))
        with open(tmp_path / str(again) / "metrics.jsonl") as lines:
            found += [[json.loads(line)["term_rolled"] for line in lines]]
    assert len(found[0]) == 2 and found[0] == pytest.approx(found[1], rel=1e-4)


def test_an_sft_run_has_no_terms(small, plugged):
    plugged(TEXT)
    config = plus(small(train__init="sft", loss__lambda_anc=0.0), rolled__weight=0.3)
    assert terms.names(config) == ["rolled"] and not terms.need_reference(config)
    assert terms.names(loop.sft_config(config)) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "@plugins.target(weight=1.0)\ndef u(seen):\n    return seen.t\n",
            r"returned \[4\]; return",
        ),
        ("@plugins.target(weight=1.0)\ndef u(seen):\n    pass\n", "returned NoneType; return a"),
        ("@plugins.term(weight=1.0)\ndef f(v, seen):\n    return v\n", r"\[\] or \[4\]"),
    ],
)
def test_what_is_of_another_shape_is_refused(small, tmp_path, plugged, text, said):
    plugged(text)
    with pytest.raises(UserError, match=said):
        gradient(plus(small()), tmp_path)
