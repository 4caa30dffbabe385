"""Two gains at once, against numpy's least squares over the same arrays."""

from __future__ import annotations

from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from direct.common.errors import UserError
from direct.common.files import write_json
from direct.config import Run
from direct.data import source
from direct.measure import about
from direct.measure.gain import LEVELS
from direct.models import pipeline
from direct.prepare import render, shared

GAINS = {"training": (0.03, 0.01), "judged": (0.01, 0.02)}


def test_gains_about_own_negatives_and_the_mean_clip_are_told_apart(small, tmp_path, monkeypatch):
    config = small(loss__lambda_rand=0.0, loss__lambda_hard=0.05, train__steps=40)
    run = Run(config, tmp_path, tmp_path / "mins")
    data = shared.open_shared(run)
    items = source.evaluation(config)
    kept = [[x["prompt"] for x in found] for found in shared.perturbations(run, items)["kept"]]
    judged = render.hard_negatives(run, [text for texts in kept for text in texts])
    x_bar = data.latents(range(12)).mean(0)
    own = {item.id: data.hard(data.hard_prompts[i]).mean(0) for i, item in enumerate(data.samples)}
    own |= {item.id: judged(texts).mean(0) for item, texts in zip(items, kept, strict=True)}
    rng, seen = torch.Generator().manual_seed(0), {}

    def velocities(config, data, chosen, nets, k):
        """v_sft at random, v by the two gains and something besides; noted for the reference."""
        pairs = []
        for i in chosen:
            item = data.samples[i]
            name = "training" if item.id in {x.id for x in source.training(run)} else "judged"
            v_sft = torch.randn(x_bar.shape, generator=rng)
            a, b = GAINS[name]
            rest = 0.01 * torch.randn(x_bar.shape, generator=rng)
            v = v_sft + a * (v_sft + own[item.id]) + b * (v_sft + x_bar) + rest
            pairs.append((v, v_sft))
            terms = v - v_sft, v_sft + own[item.id], v_sft + x_bar
            seen.setdefault((name, k), []).append([x.numpy().ravel() for x in terms])
        return [torch.stack(one) for one in zip(*pairs, strict=True)]

    net = SimpleNamespace(config=SimpleNamespace(patch_size=(1, 2, 2)))
    monkeypatch.setattr(pipeline, "load_transformer", lambda place: net)
    monkeypatch.setattr(about, "velocities", velocities)
    found = about.measure(run, tmp_path / "sft", clips=4)
    for name, levels in found.items():
        assert [level.t for level in levels] == list(LEVELS)
        for k, level in enumerate(levels):
            assert len(seen[name, k]) == 4
            d, *terms = (np.concatenate(rows) for rows in zip(*seen[name, k], strict=True))
            gains, (left,), *_ = np.linalg.lstsq(np.stack(terms, 1), d, rcond=None)
            assert [level.own, level.mean] == pytest.approx(gains, rel=1e-3)
            assert level.r2 == pytest.approx(1 - left / (d @ d), rel=1e-3)
            assert gains == pytest.approx(GAINS[name], abs=4e-3), "which is near the truth"


def test_folders_of_other_trainings_are_refused(small, tmp_path, monkeypatch, capsys):
    mins = small(loss__lambda_rand=0.0, loss__lambda_hard=0.05)
    cells = {
        "mins": mins,
        "both": small(),
        "sft": small(loss__lambda_rand=0.0, loss__lambda_hard=0.0),
    }
    for name, config in cells.items():
        write_json(tmp_path / name / "config.json", asdict(config))
        (tmp_path / name / "transformer").mkdir()
    level = about.Level(0.5, 0.03, 0.01, 0.85)
    monkeypatch.setattr(about, "measure", lambda run, folder: {"judged": [level]})

    def told(*names):
        monkeypatch.setattr("sys.argv", ["about", *(str(tmp_path / name) for name in names)])
        about.main()

    told("mins", "sft")
    shown = capsys.readouterr().out.splitlines()[2].split()
    assert shown == ["judged", "0.5", "0.0300", "0.0100", "0.85"]
    with pytest.raises(UserError, match=r"with loss.lambda_rand=0.005, too; give a training with"):
        told("both", "sft")
    with pytest.raises(UserError, match="is not the SFT training of"):
        told("mins", "both")
