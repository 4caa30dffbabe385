"""A cell's clips: shared noise, resumed, repaired, refused where they cannot be."""

from __future__ import annotations

import json

import pytest
import torch

from direct import sampling
from direct.common.errors import UserError
from direct.common.files import load_arrays
from direct.config import Run
from direct.data import source
from direct.evaluate import clips
from direct.prepare import encode, shared
from direct.train import loop

SHAPE = (4, 2, 4, 4)  # of the fixture's latents: 5 frames of 16 x 16


@pytest.mark.slow
def test_variants_share_noise_and_zero_shot_is_the_base(small, tmp_path, pipeline_folder):
    base = small(train__steps=0)
    path = clips.generate(Run(base, tmp_path / "cache", tmp_path / "base"))
    made = load_arrays(path)["latents"]
    assert made.shape == (5, *SHAPE) and made.dtype == torch.float32

    still = small(train__steps=1, train__learning_rate=0.0, train__weight_decay=0.0)
    loop.train(Run(still, tmp_path / "cache", tmp_path / "still"))
    same = clips.generate(Run(still, tmp_path / "cache", tmp_path / "still"))
    assert torch.equal(load_arrays(same)["latents"], made)  # nothing learnt: nothing differs

    other = small(train__steps=0, seed=1)
    path = clips.generate(Run(other, tmp_path / "cache", tmp_path / "other"))
    assert not torch.equal(load_arrays(path)["latents"], made)  # a seed has noise of its own


def test_up_sampled_captions_are_prepared_and_the_short_ones_are_not_generated_from(
    small, tmp_path, monkeypatch
):
    longer, short = {}, small(train__steps=0)
    for item in source.evaluation(short):
        longer[item.prompt] = f"{item.prompt} slowly"
    (tmp_path / "longer.json").write_text(json.dumps(longer))
    monkeypatch.setenv("DIRECT_CAPTIONS", str(tmp_path / "longer.json"))
    config, cache = small(train__steps=0, evaluate__captions="upsampled"), tmp_path / "cache"
    shared.build([Run(config, cache)])
    with monkeypatch.context() as patch:
        patch.setattr(encode, "_part", lambda *_: pytest.fail("the encoder is loaded again"))
        path = clips.generate(Run(config, cache, tmp_path / "longer"))
    other = clips.generate(Run(small(train__steps=0), cache, tmp_path / "short"))
    a, b = (load_arrays(p)["latents"] for p in (path, other))
    assert a.shape == b.shape and not torch.equal(a, b)


@pytest.mark.slow
def test_killed_generation_goes_on_and_equals_an_uninterrupted_one(small, tmp_path, monkeypatch):
    config = small(train__steps=0, evaluate__prompts=7)
    monkeypatch.setattr(clips, "batch_size", lambda *_: 2)
    whole = clips.generate(Run(config, tmp_path / "cache", tmp_path / "whole"))

    class Killed(BaseException):
        pass

    def kill(stage, done, total):
        if done == 4:
            raise Killed

    run = tmp_path / "killed"
    with pytest.raises(Killed):
        clips.generate(Run(config, tmp_path / "cache", run, progress=kill))
    assert not (run / "samples.safetensors").exists()
    calls = []
    sample = sampling.sample
    monkeypatch.setattr(clips, "sample", lambda *a: calls.append(a) or sample(*a))
    path = clips.generate(Run(config, tmp_path / "cache", run))
    assert len(calls) == 2  # of four batches
    assert path.read_bytes() == whole.read_bytes()
    assert not (run / "samples.parts").exists()


def test_damaged_samples_are_named_and_made_again(small, tmp_path, capsys):
    config = small(train__steps=0)
    path = clips.generate(Run(config, tmp_path / "cache", tmp_path / "run"))
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    clips.generate(Run(config, tmp_path / "cache", tmp_path / "run"))
    assert path.read_bytes() == good and "damaged" in capsys.readouterr().out


def test_untrained_cell_and_impossible_sizes_are_refused(small, tmp_path):
    with pytest.raises(UserError, match="train this cell first"):
        clips.generate(Run(small(), tmp_path, tmp_path / "run"))
    for values, message in (
        ({"model__frames": 6}, "model.frames=6 must be a multiple of 4, plus one"),
        ({"model__width": 20}, "model.width=20 must be a multiple of 8"),
    ):
        with pytest.raises(UserError, match=message):
            clips.generate(Run(small(train__steps=0, **values), tmp_path, tmp_path / "run"))
