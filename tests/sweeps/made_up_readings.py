"""Made-up readings of training itself, for Tables S4 and S6: every statistic of them is known."""

import numpy as np

from direct.profiles import profile
from direct.settings import override
from sweeps import tables
from sweeps.ablations import ABLATIONS
from sweeps.schema import cells

BASE = override(profile("tiny"))

S4, S6 = ABLATIONS["cost"], ABLATIONS["alignment"]

SAMPLERS = {"random": 0.3, "mans": -0.2, "mins": 0.1, "mans_marginal": 0.9}  # mean cosines

PROP = {"same": -0.05, "other": 0.02, "hard": -0.04}  # mean a


def gradients(rng, steps=40):
    """Readings whose every statistic is known: MaNS deviates half as much as random negatives."""
    noise = rng.normal(size=steps)
    found = {}
    for kind, mean in SAMPLERS.items():
        found[f"{kind}.telemetry"] = 0.1 * noise
        found[f"{kind}.cosine"] = mean + (0.1 if kind == "mans" else 0.2) * noise
    for kind in (*SAMPLERS, *PROP):
        found[f"{kind}.a"] = PROP.get(kind, 0.0) + 0.01 * rng.normal(size=steps)
        found[f"{kind}.delta"], found[f"{kind}.delta_x"] = 3 + 0 * noise, 1 + 0 * noise
    return found


def seconds(rng, steps=12):
    """DiReCT's iterations last 1 % longer than SFT's, on a machine that drifts."""
    drift = 1 + 0.2 * rng.random(steps)
    found = {}
    for kind, whole, memory in (("fm", 0.7, 0.04), ("sft", 1.0, 0.05), ("direct", 1.01, 0.07)):
        found[f"{kind}.seconds_per_iteration"] = whole * drift
        found[f"{kind}.memory_gb"] = np.full(steps, memory)
        for part in ("data", "forward", "reference", "loss", "backward", "update"):
            found[f"{kind}.{part}"] = whole / 6 * drift
    return found


def built(table, make, seeds=None, label="step"):
    planned = cells(table, BASE, seeds or table.seeds)
    found = {}
    for i, one in enumerate(planned):
        scores = make(np.random.default_rng(i))
        steps = len(next(iter(scores.values())))
        found[one.id] = {
            "cell": one.id,
            "config": {"seed": one.config.seed},
            "status": "done",
            "prompts": [f"{label} {p:04d}" for p in range(steps)],
            "scores": {name: values.tolist() for name, values in scores.items()},
            "provenance": {
                "commit": "abc",
                "device": "a processor",
                "parameters": 1_240_000,
                "step_ratio": {"with_anchor": 2.0},
            },
            "samples": {
                f"{kind}.{what}": [[0.5, None, 0.25]] * steps
                for kind in PROP
                for what in ("a", "delta_x")
            },
        }
    return tables.build(table, planned, found)


def value(table, label, metric):
    return next(x for x in table.lines if x.row.label == label).values[metric]
