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
