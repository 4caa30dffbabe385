"""What cells share: made once, found again, extended, repaired."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from direct_helpers import Killed, tensors_of

from direct.config import Run
from direct.data import source
from direct.models import codec
from direct.models import pipeline as pipeline_module
from direct.negatives import macro, micro
from direct.prepare import shared


@pytest.mark.slow
def test_second_time_nothing_is_made(small, tmp_path, monkeypatch):
    config = small()
    stages = []
    shared.build([Run(config, tmp_path, progress=lambda stage, *_: stages.append(stage))])
    assert {"text", "latents", "partition", "perturb", "render"} <= set(stages)
    for name in ("load_pipeline", "load_transformer"):
        monkeypatch.setattr(pipeline_module, name, lambda *_: pytest.fail("loaded a model again"))
    before = sorted(tmp_path.rglob("*"))
    stages.clear()
    shared.build([Run(config, tmp_path, progress=lambda stage, *_: stages.append(stage))])
    assert stages == [] and sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_partition_excludes_by_cluster_and_law(small, tmp_path):
    both = shared.open_shared(Run(small(), tmp_path)).pools
    alone = shared.open_shared(Run(small(macro__exclude_same_law=False), tmp_path)).pools
    assert both.excluded_share > alone.excluded_share > 0
    (path,) = (tmp_path / "partition").glob("*.json")
    stored = json.loads(path.read_text())["value"]
    assert stored["sum_p_squared"] == pytest.approx(alone.excluded_share)
    assert shared.open_shared(Run(small(macro__sampling="uniform"), tmp_path)).pools is None


@pytest.mark.slow
def test_kept_perturbations_pass_the_filter_by_an_independent_count(
    small, tmp_path, pipeline_folder
):
    samples = source.training(Run(small(), tmp_path))
    everything = shared.perturbations(Run(small(micro__min_cosine=-1.0), tmp_path), samples)["kept"]
    middle = float(np.median([entry["cosine"] for kept in everything for entry in kept]))
    config = small(micro__min_cosine=middle, micro__keep=2)
    plan = shared.perturbations(Run(config, tmp_path), samples)
    pipeline, total = pipeline_module.load_pipeline(str(pipeline_folder)), 0
    for item, kept in zip(samples, plan["kept"], strict=True):
        found = micro.candidates(item.id, item.prompt, item.perturb, config.micro.axes, 10)
        z = macro.pool(*codec.encode_prompts(pipeline, [item.prompt, *(p for _, p in found)], 12))
        near = torch.cosine_similarity(z[:1], z[1:])
        best = sorted((float(c) for c in near if c >= middle), reverse=True)[:2]
        assert [entry["cosine"] for entry in kept] == pytest.approx(best, abs=1e-5)
        total += len(best)
    assert plan["retention"]["overall"]["kept"] == total > 0
    assert set(plan["retention"]["by_axis"]) <= {"kinematics", "magnitude"}  # the two that apply


@pytest.mark.slow
def test_only_drawn_negatives_are_rendered_and_a_longer_run_adds_to_them(small, tmp_path):
    short, long = small(train__steps=1), small(train__steps=8)
    shared.build([Run(short, tmp_path)])
    first = tensors_of(tmp_path / "hard")
    kept = shared.open_shared(Run(short, tmp_path)).hard_prompts
    assert len(first) == len(shared.drawn_prompts(short, kept)) < len({p for k in kept for p in k})
    shared.build([Run(long, tmp_path)])
    second = tensors_of(tmp_path / "hard")
    assert len(second) == len(shared.drawn_prompts(long, kept)) > len(first)
    shared.build([Run(long, tmp_path / "fresh")])
    fresh = tensors_of(tmp_path / "fresh" / "hard")
    assert fresh.keys() == second.keys()
    assert all(torch.equal(fresh[key], second[key]) for key in fresh)


@pytest.mark.slow
def test_hard_negatives_of_all_seeds_are_rendered_at_once(small, tmp_path):
    configs = [replace(small(train__steps=2), seed=seed) for seed in (0, 1)]
    totals = []

    def progress(stage, done, total):
        if stage == "render":
            totals.append((done, total))

    shared.build([Run(config, tmp_path, progress=progress) for config in configs])
    kept = shared.open_shared(Run(configs[0], tmp_path)).hard_prompts
    first, second = (set(shared.drawn_prompts(config, kept)) for config in configs)
    assert len(first | second) > max(len(first), len(second))
    assert totals[-1] == (len(first | second),) * 2 and len({total for _, total in totals}) == 1
    assert len(tensors_of(tmp_path / "hard")) == len(first | second)


@pytest.mark.slow
def test_killed_between_shards_goes_on_and_ends_the_same(small, tmp_path, many_shards):
    config = small()
    shared.build([Run(config, tmp_path / "whole")])
    for stage, done in (("latents", 5), ("render", 2), ("render", 4)):

        def kill(at, n, total, stage=stage, done=done):
            if (at, n) == (stage, done):
                raise Killed

        with pytest.raises(Killed):
            shared.build([Run(config, tmp_path / "killed", progress=kill)])
    shared.build([Run(config, tmp_path / "killed")])
    whole, killed = tensors_of(tmp_path / "whole"), tensors_of(tmp_path / "killed")
    assert whole.keys() == killed.keys()
    assert all(torch.equal(whole[key], killed[key]) for key in whole)


@pytest.mark.slow
def test_cells_that_differ_in_the_loss_share_everything(small, tmp_path):
    shared.build([Run(small(), tmp_path)])
    before = sorted(tmp_path.rglob("*"))
    shared.build([Run(small(loss__lambda_hard=0.3, loss__lambda_rand=0.2), tmp_path)])
    assert sorted(tmp_path.rglob("*")) == before


def test_zero_shot_prepares_prompts_alone(small, tmp_path):
    shared.build([Run(small(train__steps=0), tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["text"]
