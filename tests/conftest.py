"""What all tests have: a small pipeline's folder, and a configuration that trains in a second."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from small_wan import build_pipeline, build_samples

from direct.config import Config, Run
from direct.data import source
from direct.data.sample import Sample
from direct.plugins import files, registry
from direct.profiles import profile
from direct.settings import with_values

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test asks a hub; the hub's library would retry

if not torch.cuda.is_available():
    # Triton's kernels run in its interpreter; it is chosen when Triton is first imported.
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture
def plugged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """plugged(text) writes a user's file and loads it; what it registers is gone afterwards."""
    # Python would take the bytecode of another text of the same size and second.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = dict(registry._entries), dict(files._modules), list(sys.path)

    def write(text: str, name: str = "mine.py") -> Path:
        path = tmp_path / "user" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("from direct import plugins\n\n\n" + text)
        files._modules.pop(path.resolve(), None)
        files.load(path)
        return path

    yield write
    registry._entries.clear()
    registry._entries.update(before[0])
    files._modules.clear()
    files._modules.update(before[1])
    sys.path[:] = before[2]


@pytest.fixture(scope="session")
def pipeline_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_pipeline(tmp_path_factory.mktemp("wan") / "pipeline")


@pytest.fixture
def small(pipeline_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Config]:
    """A configuration that trains in a second, on clips that need no world."""

    def training(run: Run) -> list[Sample]:
        return build_samples(run.config.data.clips, "training", run.config.model.height)

    def evaluation(config: Config) -> list[Sample]:
        return build_samples(config.evaluate.prompts, config.evaluate.split)

    monkeypatch.setattr(source, "training", training)
    monkeypatch.setattr(source, "evaluation", evaluation)
    monkeypatch.setattr(source, "identity", lambda config: "test")

    def build(**values: object) -> Config:
        settings = {
            "model.pipeline": str(pipeline_folder),
            "model.frames": 5,
            "model.height": 16,
            "model.width": 16,
            "model.text_length": 12,
            "data.clips": 12,
            "macro.clusters": 3,
            "macro.restarts": 2,
            "micro.min_cosine": 0.0,
            "train.steps": 6,
            "train.batch": 4,
            "train.checkpoint_every": 2,
            "train.keep_last": False,  # a test that trains twice means it
            "sample.steps": 3,
            "hard_sample.steps": 2,
            "evaluate.prompts": 5,
        }
        dotted = {name.replace("__", "."): value for name, value in values.items()}
        return with_values(profile("tiny"), settings | dotted)

    return build
