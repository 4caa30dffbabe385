"""The stages of the miniature: done once, and the corpus put together again from its parts."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from direct.base import stages
from direct.common.files import save_arrays


def started(monkeypatch):
    """Runs of stages, in this process instead of in new ones."""
    found = []

    def spawn(member, args, nprocs):
        run, processes, meeting = args
        found.append((processes, nprocs, meeting))
        run()

    monkeypatch.setattr(stages.mp, "spawn", spawn)
    return found


def test_a_stage_runs_once_and_is_marked_with_its_settings(tmp_path, monkeypatch):
    found, made = started(monkeypatch), []
    for _ in range(2):
        stages.stage(tmp_path / "vae", lambda: made.append(1), processes=2)
    assert made == [1]
    ((processes, spawned, meeting),) = found
    assert processes == spawned == 2 and meeting.startswith("file:///")
    marked = json.loads((tmp_path / "vae" / "done.json").read_text())
    assert marked == json.loads(json.dumps(stages.settings()))


def test_a_stage_that_fails_is_not_marked(tmp_path, monkeypatch):
    started(monkeypatch)
    with pytest.raises(ZeroDivisionError):
        stages.stage(tmp_path / "vae", lambda: 1 // 0, processes=1)
    assert not (tmp_path / "vae" / "done.json").exists()


def test_the_corpus_of_two_processes_is_one_normalised_corpus(tmp_path, monkeypatch):
    clips = [SimpleNamespace(caption=f"clip {n}") for n in range(5)]
    monkeypatch.setattr(stages, "corpus", lambda *_: clips)
    whole = torch.randn(5, 3, 2, 2, 2) * torch.tensor([1.0, 5, 0.2]).view(1, 3, 1, 1, 1) + 7
    for rank in range(2):
        save_arrays(tmp_path / "latents" / f"{rank}.safetensors", {"latents": whole[rank::2]})
    latents, mean, std, captions = stages.load_corpus(tmp_path)
    assert captions == ["clip 0", "clip 2", "clip 4", "clip 1", "clip 3"]
    per_channel = latents.transpose(0, 1).flatten(1)
    torch.testing.assert_close(per_channel.mean(1), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(per_channel.std(1), torch.ones(3), atol=1e-5, rtol=0)
    view = (1, 3, 1, 1, 1)
    again = latents * std.view(view) + mean.view(view)
    torch.testing.assert_close(again, whole[[0, 2, 4, 1, 3]], rtol=1e-5, atol=1e-5)


def test_the_card_records_all_that_decides_the_weights():
    shown = stages.settings()
    assert shown["transformer"] == stages.TRANSFORMER and shown["vae"] == stages.VAE_PLAN
    assert shown["seed"] == stages.SEED and len(shown["polishes"]) == len(stages.POLISHES)
