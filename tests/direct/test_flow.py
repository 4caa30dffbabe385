"""The flow against closed forms, the scheduler's grid and published shares."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from scipy import stats

from direct import flow, noise
from direct.common.errors import UserError


def test_velocity_is_the_derivative_of_the_interpolant():
    x, eps = torch.randn(2, 3, 4, 1, 2, 2, dtype=torch.float64)
    t = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    h = 1e-6
    slope = (flow.interpolate(x, eps, t + h) - flow.interpolate(x, eps, t - h)) / (2 * h)
    torch.testing.assert_close(slope, flow.target_velocity(x, eps), rtol=1e-8, atol=1e-8)
    ends = torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64)
    there = flow.interpolate(x, eps, ends)
    assert torch.equal(there[0], x[0]) and torch.equal(there[1:], eps[1:])


@pytest.mark.parametrize("s", [1.0, 3.0, 5.0])
def test_training_grid_is_the_schedulers(s):
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=s)
    grid = flow.training_grid(s)
    np.testing.assert_allclose(grid[::-1], scheduler.sigmas.numpy(), rtol=1e-6)
    np.testing.assert_allclose(grid[::-1] * flow.TIMESTEPS, scheduler.timesteps.numpy(), rtol=1e-6)


@pytest.mark.parametrize(  # measured of VideoX-Fun: mean, median, share above 0.9
    ("s", "mean", "median", "high"), [(3, 0.677, 0.75, 0.25), (5, 0.748, 0.833, 0.358)]
)
def test_times_are_videox_funs(s, mean, median, high):
    t = torch.cat([flow.sample_times(0, step, 100, s) for step in range(400)]).numpy()
    assert t.mean() == pytest.approx(mean, abs=0.005)
    assert np.median(t) == pytest.approx(median, abs=0.01)
    assert (t > 0.9).mean() == pytest.approx(high, abs=0.01)
    assert np.isin(t, flow.training_grid(s).astype(np.float32)).all()


def test_times_are_uniform_on_the_grid_and_independent_of_place():
    t = torch.stack([flow.sample_times(1, step, 8, 1.0) for step in range(2000)]).numpy()
    for place in (0, 7):  # not stratified: each place sees all noise levels
        assert stats.kstest(t[:, place], "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(t[:, 0], t[:, 1])[0, 1]) < 0.08
    assert abs(np.corrcoef(t[:-1, 0], t[1:, 0])[0, 1]) < 0.08


@pytest.mark.parametrize(  # DiffSynth-Studio's --max_timestep_boundary for Wan 2.2 at shift 5
    ("boundary", "high"), [(0.875, 0.417), (0.9, 0.358)]
)
def test_an_experts_times_are_those_of_the_grid_in_its_range(boundary, high):
    grid = flow.training_grid(5.0)
    assert (grid >= boundary).mean() == pytest.approx(high, abs=1e-3)
    for among in ((boundary, np.inf), (0.0, boundary)):
        t = torch.cat([flow.sample_times(0, k, 100, 5.0, among) for k in range(200)]).numpy()
        own = grid[(grid >= among[0]) & (grid < among[1])].astype(np.float32)
        assert set(np.unique(t)) == set(own)
        assert stats.kstest(np.searchsorted(own, t) / len(own), "uniform").pvalue > 1e-3
    with pytest.raises(UserError, match=r"train.shift=1 leaves no noise level from 0 to 0.0005"):
        flow.sample_times(0, 0, 4, 1.0, (0.0, 5e-4))


def test_all_times_are_drawn_as_ever():
    """Results rest on these bits."""
    u = noise.uniform(3, 7, "time", 64)
    before = flow.training_grid(5.0)[(u * 1000).astype(np.int64)]
    assert torch.equal(flow.sample_times(3, 7, 64, 5.0), torch.from_numpy(before).float())


def test_sampling_grid_shifts_once():
    grid = flow.sampling_grid(10, 5.0)
    closed = [5 * u / (1 + 4 * u) for u in np.linspace(1, 0.001, 10)] + [0.0]
    np.testing.assert_allclose(grid, closed, rtol=1e-12)
    assert grid[0] == 1 and grid[-2] == pytest.approx(0.0049800797)
    twice = FlowMatchEulerDiscreteScheduler(shift=5.0)
    twice.set_timesteps(10)
    assert twice.sigmas[-2] == pytest.approx(0.0244, abs=1e-4)  # the trap, still there
    assert len(flow.sampling_grid(1, 3.0)) == 2
