"""What a run's negatives are, by themselves: known before any training."""

from __future__ import annotations

import numpy as np

from ..common.files import cached_json, digest
from ..config import Run
from ..data import source
from ..models.pipeline import text_identity
from ..negatives import macro
from . import render, shared
from .encode import made_by, pooled


def rendering(run: Run) -> dict[str, float]:
    """passes: forward passes per hard negative (`render.passes`); empty where none is drawn."""
    config = run.config
    if not (config.train.steps and config.loss.lambda_hard):
        return {}
    drawn: list[str] = []
    if config.render.cache:  # else all cost the same
        kept = shared.kept_prompts(run, source.training(run))
        drawn = shared.drawn_prompts(config, [[x["prompt"] for x in found] for found in kept])
    return {"passes": round(render.passes(run, drawn), 9)}


def facts(run: Run) -> dict[str, float] | None:
    """Exact expectations over Eq. 2's draws; `None` where the run draws no such negatives.

    sum_p_squared     share of uniform draws that the clusters alone change, sum_k p_k^2
    changed           share that the run's exclusion changes: its clusters, and laws where excluded
    distance          mean Euclidean distance of z_y from a sample to its negative
    uniform_distance  the same for uniform draws
    """
    config = run.config
    settings = config.macro
    if not config.train.steps or not config.loss.lambda_rand or settings.sampling != "partition":
        return None
    samples = source.training(run)
    prompts, laws = [item.prompt for item in samples], [item.law for item in samples]
    key = [
        text_identity(config),
        prompts,
        laws,
        settings.clusters,
        settings.restarts,
        settings.exclude_same_law,
        *made_by(config, "direct.prepare.facts"),
    ]

    def make() -> dict[str, float]:
        z = pooled(run, prompts)
        labels = np.array(shared.partition(run, samples)["labels"])
        pools = macro.exclusion(labels, shared.laws(config, samples))
        found = {
            "sum_p_squared": macro.exclusion(labels).excluded_share,
            "changed": pools.excluded_share,
            "distance": macro.mean_distance(z, pools),
            "uniform_distance": macro.mean_distance(z),
        }
        return {name: round(value, 9) for name, value in found.items()}

    found: dict[str, float] = cached_json(run.cache / "negatives" / f"{digest(key)}.json", make)
    return found
