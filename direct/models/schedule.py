"""The noise levels of sampling: the pipeline's own scheduler computes them, at our shift.

A family's pipeline either gives its scheduler the points to shift (`families.points`) or takes the
scheduler's own. In the second case diffusers' FlowMatchEulerDiscreteScheduler starts from a lower
end that it has shifted already and shifts it again (docs/method.md): it is given the points from 1
to 1/1000 instead, which it shifts once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from ..common.errors import UserError
from ..flow import TIMESTEPS, sampling_grid

OWN_LEVELS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "shift_terminal")


def levels(
    scheduler: Any, points: np.ndarray | None, steps: int, shift: float, tokens: int
) -> np.ndarray:
    """[steps + 1] float64, descending to 0: the noise levels of Euler sampling.

    points: [steps] in (0, 1], what the family's pipeline gives the scheduler; None where it gives
    nothing. shift: 0 is the scheduler's own, which may depend on the latents' T x H x W (`tokens`).
    A scheduler that does not sample a flow is a `UserError`.
    """
    check(scheduler)
    config, shift = scheduler.config, shift or own_shift(scheduler.config, tokens)
    by_flow_shift = "flow_shift" in config
    if points is None and not by_flow_shift:
        if not any(config.get(name) for name in OWN_LEVELS):
            return sampling_grid(steps, shift)
        points = np.linspace(1, 1 / TIMESTEPS, steps)
    if by_flow_shift:
        scheduler = type(scheduler).from_config(config, flow_shift=shift)
    else:
        scheduler = type(scheduler).from_config(config)
        scheduler.set_shift(shift)
    mu = {"mu": _mu(config, shift)} if config.get("use_dynamic_shifting") else {}
    scheduler.set_timesteps(steps, sigmas=points, **mu)
    found: np.ndarray = scheduler.sigmas.double().numpy()
    if not (np.isfinite(found).all() and (np.diff(found) < 0).all() and found[-1] == 0):
        raise UserError(
            f"{type(scheduler).__name__} has no {steps} noise levels that fall to 0 at shift "
            f"{shift:g}; use other steps, or a pipeline with another scheduler"
        )
    return found


def unipc(steps: int, shift: float) -> tuple[np.ndarray, Callable[..., Tensor]]:
    """`sampling.sample`'s `levels` and `advance` for diffusers' UniPC of order 2.

    Its defaults are the configuration of Wan's released pipeline, and so are its levels: Euler's,
    whose last one is near 0, are no levels for an extrapolation in the logarithm. It keeps the last
    two velocities, so each sampling needs its own.
    """
    from diffusers import UniPCMultistepScheduler

    solver = UniPCMultistepScheduler(
        num_train_timesteps=TIMESTEPS,
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        flow_shift=shift,
    )
    solver.set_timesteps(steps)
    solver.set_begin_index(0)
    times = iter(solver.timesteps)

    def advance(x: Tensor, v: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
        moved: Tensor = solver.step(v, next(times), x, return_dict=False)[0]
        return moved

    return solver.sigmas.double().numpy(), advance


def own_shift(config: Any, tokens: int) -> float:
    """The shift s of s t / (1 + (s - 1) t) that the scheduler's configuration means."""
    if not config.get("use_dynamic_shifting"):
        return float(config["flow_shift"] if "flow_shift" in config else config["shift"])
    from diffusers.pipelines.ltx.pipeline_ltx import calculate_shift

    names = ("base_image_seq_len", "max_image_seq_len", "base_shift", "max_shift")
    mu = calculate_shift(tokens, *(config[name] for name in names))
    return math.exp(mu) if config["time_shift_type"] == "exponential" else float(mu)


def check(scheduler: Any) -> None:
    """A `UserError` for a scheduler whose noise levels Euler sampling of a flow cannot use."""
    config, name = scheduler.config, type(scheduler).__name__
    flow_sigmas = config.get("use_flow_sigmas") and config.get("prediction_type") == (
        "flow_prediction"
    )
    if name != "FlowMatchEulerDiscreteScheduler" and not flow_sigmas:
        fault = "does not sample a flow (use_flow_sigmas, prediction_type=flow_prediction)"
    elif config.get("stochastic_sampling") or config.get("invert_sigmas"):
        fault = "has stochastic_sampling or invert_sigmas, which the sampler here does not know"
    elif config["num_train_timesteps"] != TIMESTEPS:
        fault = f"has num_train_timesteps={config['num_train_timesteps']}, not {TIMESTEPS}"
    else:
        return
    raise UserError(f"the pipeline's {name} {fault}; give a pipeline with another scheduler")


def _mu(config: Any, shift: float) -> float:
    return math.log(shift) if config["time_shift_type"] == "exponential" else shift
