"""Random weights and clips, where only time and memory are measured."""

from __future__ import annotations

import pytest
import torch

from direct.common.errors import UserError
from direct.measure import published, standin
from direct.models.pipeline import load_transformer
from direct.profiles import profile
from direct.settings import with_values


@pytest.mark.slow
def test_the_real_architecture_needs_no_download(tmp_path, monkeypatch):
    """1,418,996,800 parameters, as diffusers' own conversion of Wan 2.1 1.3B has."""
    config = published.in_folder(profile("wan2.1-t2v-1.3b"), tmp_path)
    monkeypatch.setattr(standin, "device_bytes", lambda: 80 * 10**9)
    assert standin.check_room(config) == 1_418_996_800
    monkeypatch.setattr(standin, "device_bytes", lambda: 24 * 10**9)
    with pytest.raises(UserError, match=r"1\.42 billion parameters needs 28 GB .* 24 GB"):
        standin.check_room(config)
    monkeypatch.setattr(standin, "CLIPS", 4)
    config = with_values(config, {"train.batch": 1, "train.micro_batch": 1, "model.frames": 5})
    data = standin.clips(config, tmp_path)
    assert data.latents([0, 1]).shape == (2, 16, 2, 60, 104)
    assert data.text(["text 1", ""]).shape == (2, 512, 4096)


def test_stand_ins_have_the_sizes_of_the_real_ones(small, tmp_path):
    config = small(train__batch=20)
    data = standin.clips(config, tmp_path)
    assert len(data.samples) == 40, "two batches"
    x, text = data.latents([0, 39]), data.text(["text 3", ""])
    assert x.shape == (2, 4, 2, 4, 4) and text.shape == (2, 12, 24)
    assert text[:, :3].abs().sum(-1).all() and not text[:, 3:].any(), "a quarter of the tokens"
    assert data.hard(data.hard_prompts[7]).shape == (1, 4, 2, 4, 4)
    assert not torch.equal(x[0], x[1]) and x.std().item() == pytest.approx(1, abs=0.2)
    again = standin.clips(config, tmp_path / "again")
    assert torch.equal(again.latents([0, 39]), x)
    for use in (data.samples[0].video, data.samples[0].perturb):
        with pytest.raises(AssertionError, match="neither rendered nor perturbed"):
            use()


def test_a_random_transformer_is_the_pipelines_architecture(small):
    config = small()
    ours, theirs = standin.random_transformer(config), load_transformer(config.model.pipeline)
    shapes = [{n: p.shape for n, p in one.named_parameters()} for one in (ours, theirs)]
    assert shapes[0] == shapes[1] and type(ours) is type(theirs)
    assert standin.check_room(config) == sum(p.numel() for p in theirs.parameters())


def test_an_adapter_fits_where_all_weights_do_not(small, monkeypatch):
    monkeypatch.setattr(standin, "device_bytes", lambda: 1000)
    with pytest.raises(UserError, match="in one process, so on a larger device"):
        standin.check_room(small())
    assert standin.check_room(small(train__lora_rank=2)) > 1000
