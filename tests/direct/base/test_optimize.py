"""What both trainings share: each part's own optimizer, a clipped gradient, averaged weights."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from direct.base.optimize import Optimizers, average_gradients, ema


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 2), nn.Flatten(), nn.Linear(3, 4))


def test_the_rest_takes_adamws_step_of_the_clipped_gradient():
    """By hand: at the first step AdamW moves each weight by its rate, signed."""
    model = network()
    before = copy.deepcopy(model)
    optimizers = Optimizers([model[0].weight], model.parameters(), rate=0.01)
    (10 * model(torch.randn(1, 2, 2, 2)).square().sum()).backward()
    gradient = model[2].weight.grad.clone()
    optimizers.step(share=0.5)
    moved = model[2].weight - before[2].weight
    on = gradient.abs() > 1e-6
    torch.testing.assert_close(moved[on], -0.005 * gradient.sign()[on], rtol=1e-3, atol=1e-6)
    assert all(p.grad is None for p in model.parameters())


def test_a_matrix_moves_by_muons_orthogonal_update_through_its_view():
    model = network()
    kernel = model[0].weight
    before = kernel.detach().clone()
    optimizers = Optimizers([kernel], model.parameters(), rate=0.1)
    model(torch.randn(16, 2, 2, 2)).square().sum().backward()
    optimizers.step(share=1.0)
    moved = (kernel - before * (1 - 0.1 * 0.01)).detach().flatten(1)  # [3, 8], decay apart
    spread = torch.linalg.svdvals(moved)
    assert spread.max() / spread.min() < 1.8  # of an orthogonal matrix: 1
    assert moved.square().mean().sqrt() == pytest.approx(0.2 * 0.1, rel=0.3)  # AdamW's


def test_frozen_weights_are_left_out():
    model = network()
    model[2].bias.requires_grad_(False)
    optimizers = Optimizers([model[0].weight], model.parameters(), rate=0.1)
    assert len(optimizers.every) == 3
    before = model[2].bias.clone()
    model(torch.randn(1, 2, 2, 2)).sum().backward()
    optimizers.step(1.0)
    assert torch.equal(model[2].bias, before)


def test_alone_gradients_stay_and_averages_follow():
    model, average = network(), network()
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    average_gradients(list(model.parameters()))
    assert all((p.grad == 1).all() for p in model.parameters())
    with torch.no_grad():
        for p in average.parameters():
            p.fill_(1.0)
        for p in model.parameters():
            p.fill_(3.0)
    ema(average, model, 0.75)
    assert all((p == 1.5).all() for p in average.parameters())
    ema(average, model, 0.75)
    assert all((p == 1.875).all() for p in average.parameters())
