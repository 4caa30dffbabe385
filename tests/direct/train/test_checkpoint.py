"""Checkpoints are whole or absent, belong to one run, and are never a pickle."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from direct.common import manifest
from direct.common.errors import UserError
from direct.models import pipeline as pipeline_module
from direct.train import checkpoint, engine


@pytest.mark.slow
def test_kill_at_each_point_of_a_save_leaves_the_one_before_loadable(small, tmp_path, monkeypatch):
    """Every call that touches the disk during the second save is the last one once."""
    model = pipeline_module.load_transformer(small().model.pipeline).requires_grad_(True)
    running = engine.Engine(model, small().train)
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text("{}\n")

    class Killed(BaseException):
        pass

    def count(limit: int, folder: Path) -> int:
        calls = 0
        with monkeypatch.context() as patch:

            def counted(real):
                def call(*arguments, **options):
                    nonlocal calls
                    calls += 1
                    if calls == limit:
                        raise Killed
                    return real(*arguments, **options)

                return call

            for module, name in (
                (os, "replace"),
                (os, "fsync"),
                (checkpoint, "_write"),
                (checkpoint.shutil, "copyfile"),
                (checkpoint, "write_json"),
                (checkpoint.manifest, "write_manifest"),
            ):
                patch.setattr(module, name, counted(getattr(module, name)))
            checkpoint.save(folder, 2, model, running.optimizer, {"run": "a"}, metrics)
        return calls

    def fresh(name: str) -> Path:
        folder = tmp_path / name
        checkpoint.save(folder, 1, model, running.optimizer, {"run": "a"}, metrics)
        return folder

    points = count(0, fresh("counted"))
    assert points > 10
    for point in range(1, points + 1):
        folder = fresh(str(point))
        with pytest.raises(Killed):
            count(point, folder)
        state = checkpoint.restore(folder, model, running.optimizer, metrics, "a")
        assert state is not None and state["step"] in (1, 2)
        assert state["step"] == 1 or point == points  # only the last fsync comes after the rename


def test_checkpoint_of_another_configuration_or_a_pickle_is_refused(small, tmp_path):
    model = pipeline_module.load_transformer(small().model.pipeline).requires_grad_(True)
    running, metrics = engine.Engine(model, small().train), tmp_path / "metrics.jsonl"
    metrics.write_text("")
    folder = tmp_path / "checkpoints"
    checkpoint.save(folder, 1, model, running.optimizer, {"run": "a"}, metrics)
    with pytest.raises(
        UserError, match=r"step-00000001 belongs to another configuration \(a, not b\)"
    ):
        checkpoint.restore(folder, model, running.optimizer, metrics, "b")

    class Canary:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "canary"),)

    torch.save(Canary(), folder / "step-00000001" / "weights.safetensors")
    manifest.write_manifest(folder / "step-00000001")  # whole by its checksums
    with pytest.raises(UserError, match=r"weights.safetensors is no safetensors file .* a pickle"):
        checkpoint.restore(folder, model, running.optimizer, metrics, "a")
    assert not (tmp_path / "canary").exists()


def one_weight(value=1.0):
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(model.weight, value)
    return model, torch.optim.AdamW(model.parameters(), lr=0.1)


def test_the_newest_are_kept_and_the_newest_is_taken(tmp_path):
    metrics, folder = tmp_path / "metrics.jsonl", tmp_path / "checkpoints"
    for step in (1, 2, 3):
        metrics.write_text("{}\n" * step)
        checkpoint.save(folder, step, *one_weight(float(step)), {"run": "a", "skipped": 7}, metrics)
    assert sorted(path.name for path in folder.iterdir()) == ["step-00000002", "step-00000003"]
    metrics.write_text("{}\n" * 9)  # of steps after the checkpoint
    model, optimizer = one_weight(0.0)
    state = checkpoint.restore(folder, model, optimizer, metrics, "a")
    assert (state["step"], state["skipped"]) == (3, 7) and model.weight.item() == 3
    assert metrics.read_text() == "{}\n" * 3


def test_all_are_kept_where_that_is_asked_for(tmp_path):
    (tmp_path / "metrics.jsonl").touch()
    for step in (1, 2, 3, 4):
        checkpoint.save(tmp_path / "c", step, *one_weight(), {}, tmp_path / "metrics.jsonl", keep=0)
    assert len(list((tmp_path / "c").iterdir())) == 4


def test_where_there_is_none_nothing_is_restored_and_a_kills_rest_is_removed(tmp_path):
    model, optimizer = one_weight(5.0)
    rest = tmp_path / "c" / ".step-00000004.1.tmp"
    rest.mkdir(parents=True)
    assert checkpoint.restore(tmp_path / "c", model, optimizer, tmp_path / "m") is None
    assert model.weight.item() == 5 and not rest.exists()


def test_other_weights_than_are_trained_are_refused(tmp_path):
    (tmp_path / "m").touch()
    checkpoint.save(tmp_path / "c", 1, *one_weight(), {}, tmp_path / "m")
    other = torch.nn.Linear(1, 1)
    with pytest.raises(UserError, match="other weights than are trained here, bias for one"):
        checkpoint.restore(tmp_path / "c", other, torch.optim.AdamW(other.parameters()), tmp_path)
