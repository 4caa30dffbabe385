"""Plug-ins' terms: their gradient, their columns, and nothing at all without them."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from direct import velocity_loss
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


SEVERAL = """
@plugins.target(weight=0.0)
def ahead(seen):
    return seen.eps - seen.x.roll(1, 2)


@plugins.term(weight=0.0)
def middle(v, seen):
    return v.float().abs().flatten(1).mean(1)


@plugins.target(weight=0.0, prompted=True)
def still(seen):
    return seen.eps - seen.x[:, :, :1].expand_as(seen.x)
"""


def seen_batch():
    """v and a batch of three clips, the second without its prompt."""
    x, v, eps = (torch.randn(3, 4, 2, 5, 5, generator=torch.manual_seed(i)) for i in range(3))
    weight = torch.tensor([1.0, 0, 1])[:, None].expand(3, 4)
    batch = SimpleNamespace(x=x, t=None, text=None, weight=weight)
    return v.requires_grad_(), batch, eps


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_each_target_has_the_value_and_gradient_that_it_has_alone_as_the_anchor(
    small, plugged, dtype
):
    """As terms were evaluated before: velocity_loss with the target in the reference's place."""
    plugged(SEVERAL)
    settings = {"ahead.weight": 0.3, "middle.weight": 0.5, "still.weight": -0.25}
    config = with_values(replace(small(), plugins=carried.at_hand()), settings)
    assert terms.names(config) == ["ahead", "middle", "still"]
    v, batch, eps = seen_batch()
    v = v.detach().to(dtype).requires_grad_()
    added, columns = terms.evaluate(v, batch, config, eps, None, None, None)
    (gradient,) = torch.autograd.grad(sum(added), v)

    us = {"ahead": eps - batch.x.roll(1, 2), "still": eps - batch.x[:, :, :1].expand_as(eps)}
    expected = torch.zeros_like(v)
    for column, name in ((0, "ahead"), (2, "still")):
        of = torch.ones(3) if name == "ahead" else batch.weight[:, 1]
        out = velocity_loss(
            v,
            batch.x.to(dtype),
            eps.to(dtype),
            reference=us[name].to(dtype),
            lambda_anc=settings[f"{name}.weight"],
            weight=of[:, None] * torch.tensor([0.0, 0, 0, 1]),
        )
        expected += torch.autograd.grad(out.loss, v)[0]
        torch.testing.assert_close(
            columns[column][of > 0, 0], out.distances[of > 0, 3], rtol=1e-6, atol=0
        )
        assert columns[column][of == 0].isnan().all()
    torch.testing.assert_close(columns[1][:, 0], v.detach().float().abs().flatten(1).mean(1))
    expected += torch.autograd.grad(0.5 * v.float().abs().flatten(1).mean(1).mean(), v)[0]
    rounding = {} if dtype == torch.float32 else {"rtol": 2**-7, "atol": 5e-5}  # three are added
    torch.testing.assert_close(gradient, expected, **rounding)


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
