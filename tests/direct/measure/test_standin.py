"""What stands in for weights and clips where only time and memory are measured."""

from __future__ import annotations

import pytest

from direct.common.errors import UserError
from direct.measure import published, standin
from direct.profiles import profile
from direct.settings import with_values


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
