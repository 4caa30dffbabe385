"""One step against Eq. 6 written out, and with noise that is drawn again."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from direct import noise
from direct.config import Run
from direct.models import pipeline
from direct.prepare import shared
from direct.train import loop
from direct.train.batch import load_batch
from direct.train.engine import Engine
from direct.train.step import train_step


@pytest.mark.slow
def test_step_minimises_equation_6(small, tmp_path):
    """One plain-SGD step against the loss written out in float64 and differentiated by autograd."""
    config = small(loss__lambda_rand=0.1, loss__lambda_hard=0.2, loss__lambda_anc=0.3)
    batch = load_batch(config, shared.open_shared(Run(config, tmp_path)), 0)
    model = pipeline.load_transformer(config.model.pipeline)
    reference = pipeline.load_transformer(config.model.pipeline)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=torch.manual_seed(1)))
    engine = Engine(model.requires_grad_(True), replace(config.train, clip=1e9))
    engine.optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    engine.optimizer.zero_grad = lambda: None  # the gradient is looked at below
    measured = train_step(engine, reference, batch, config)
    found = {name: p.grad.clone() for name, p in model.named_parameters()}

    model.double().zero_grad()
    shape, w = batch.x.shape, batch.weight.double()
    eps, eps_rand, eps_hard = (
        noise.normal(batch.key, shape, torch.float64, term=term)
        for term in (noise.EPS, noise.RAND, noise.HARD)
    )
    x, t = batch.x.double(), batch.t.double().view(-1, 1, 1, 1, 1)
    inputs = ((1 - t) * x + t * eps, 1000 * t.flatten(), batch.text.double())
    v = model(*inputs, return_dict=False)[0]
    v_ref = reference.double()(*inputs, return_dict=False)[0].detach()
    targets = (eps - x, eps_rand - batch.x_rand, eps_hard - batch.x_hard, v_ref)
    d = torch.stack([(v - u).square().flatten(1).mean(1) for u in targets], 1)
    loss = (w * d * torch.tensor([1, -0.1, -0.2, 0.3])).sum(1).mean()
    loss.backward()
    assert measured["loss"] == pytest.approx(loss.item(), rel=1e-4)
    assert measured["d_anc"] == pytest.approx(d[:, 3].mean().item(), rel=1e-3)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name].double(), parameter.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_regenerated_noise_gives_the_same_training(small, tmp_path):
    for name, flag in (("kept", False), ("drawn", True)):
        config = small(loss__regenerate_noise=flag, train__steps=2)
        loop.train(Run(config, tmp_path / "cache", tmp_path / name))
    kept, drawn = (
        [json.loads(line)["loss"] for line in (tmp_path / name / "metrics.jsonl").open()]
        for name in ("kept", "drawn")
    )
    assert kept == pytest.approx(drawn, rel=1e-5)
