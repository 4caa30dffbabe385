"""What the frozen pipeline makes of prompts and clips, cached."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_wan import build_samples

from direct.common.errors import UserError
from direct.config import Run
from direct.data import source
from direct.data.decode import Unreadable
from direct.models import codec
from direct.models import pipeline as pipeline_module
from direct.negatives import macro
from direct.prepare import encode, render, shared
from direct.prepare.encode import pooled


@pytest.mark.slow
def test_shared_reads_what_the_models_compute(small, tmp_path, pipeline_folder):
    config = small()
    data = shared.open_shared(Run(config, tmp_path))
    pipeline = pipeline_module.load_pipeline(str(pipeline_folder))
    chosen = np.array([7, 0, 7])
    videos = np.stack([data.samples[i].video() for i in chosen])
    assert torch.equal(data.latents(chosen), codec.encode_videos(pipeline, videos))
    prompts = [data.samples[3].prompt, ""]
    assert torch.equal(data.text(prompts), codec.encode_prompts(pipeline, prompts, 12)[0])
    embeddings, lengths = codec.encode_prompts(pipeline, prompts, 12)
    z = pooled(Run(config, tmp_path), prompts)
    np.testing.assert_allclose(z, macro.pool(embeddings, lengths).numpy(), rtol=1e-6)


@pytest.mark.slow
def test_damaged_latents_are_named_and_made_again(small, tmp_path, capsys):
    config = small()
    shared.build([Run(config, tmp_path)])
    (path,) = (tmp_path / "latents").rglob("*.safetensors")
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    shared.build([Run(config, tmp_path)])
    assert path.read_bytes() == good and path.name in capsys.readouterr().out


def test_a_prompt_is_found_by_what_the_encoder_is_given(small, tmp_path):
    assert encode.text_key("  a red &amp;amp; blue ball ") == encode.text_key("a red & blue ball")
    run = Run(small(), tmp_path)
    text = encode.texts(run, ["a red ball", ""])
    assert torch.equal(text(["a  red ball"]), text(["a red ball"]))
    with pytest.raises(KeyError):
        text(["a box"])


def test_padding_is_not_kept_and_comes_back_as_zeros(small, tmp_path):
    run = Run(small(), tmp_path)
    text = encode.texts(run, ["a red ball falls", ""])
    store = encode.text_store(run)
    assert store[encode.text_key("a red ball falls")].shape == (5, 24)
    found = text(["", "a red ball falls"])
    assert found.shape == (2, 12, 24) and not found[0, 1:].any() and not found[1, 5:].any()
    assert found[1, :5].abs().sum(-1).all()


def test_pools_are_means_over_the_tokens_of_a_prompt(small, tmp_path):
    run, prompts = Run(small(), tmp_path), ["a red ball", "a large box slides slowly", ""]
    text = encode.texts(run, prompts)(prompts).double()
    means = [row[:n].mean(0) for row, n in zip(text, (4, 6, 1), strict=True)]
    expected = macro.pool(text, torch.tensor([4, 6, 1])).numpy()
    z = encode.pooled(run, prompts)
    np.testing.assert_allclose(z, expected, rtol=1e-6)
    cosine = [np.corrcoef(a, b)[0, 1] for a, b in zip(z, np.stack(means), strict=True)]
    assert min(cosine) > 0.999, "up to their length"
    np.testing.assert_allclose(encode.pool_once(run.config, prompts), z, rtol=1e-5, atol=1e-7)
    assert encode.pool_once(run.config, []).shape == (0, 1)


def test_what_the_encoder_takes_whole(small):
    config = small(model__text_length=4)
    assert encode.fits(config, "a red ball") and not encode.fits(config, "a red ball falls")


def test_a_caption_that_is_too_long_is_named_with_its_clip_before_any_work(small, tmp_path):
    run = Run(small(model__text_length=4), tmp_path)
    clips = build_samples(3, "training")
    with pytest.raises(UserError, match=rf"clip {clips[0].id} has .*model.text_length=4 .*3 of 3"):
        encode.texts(run, [clip.prompt for clip in clips], clips)
    assert not encode.text_store(run).folder.exists() or not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize(("passing", "more"), [(True, "; run again to try it again"), (False, "")])
def test_a_clip_that_cannot_be_read_is_named(small, tmp_path, monkeypatch, passing, more):
    def video():
        raise Unreadable("no good", passing)

    (clip,) = build_samples(1, "training")
    run = Run(small(), tmp_path)
    monkeypatch.setattr(source, "training", lambda run: [replace(clip, video=video)])
    assert encode._encode(run, [0]) == [f"clip {clip.id}: no good{more}"]


def test_short_captions_need_no_tokenizer(small, monkeypatch):
    monkeypatch.setattr(encode, "_tokenizer", None)
    config = small(model__text_length=12)
    assert encode.fits(config, "a red ball")  # 10 bytes and an end at each side
    with pytest.raises(TypeError):
        encode.fits(config, "a red ball!")
    with pytest.raises(TypeError):
        encode.fits(config, "\ufdfa")  # one letter, which tokenizers write as 18


def test_edited_code_renames_what_is_cached_on_the_small_world_alone(small, tmp_path, monkeypatch):
    """There it is cheap to make again; at the paper's scale an edit must not orphan renders."""
    tiny = Run(small(), tmp_path)
    paper = Run(small(data__source="cache"), tmp_path)
    stores = (encode.text_store, encode.latent_store, render.hard_store)
    before = {run: [store(run).folder for store in stores] for run in (tiny, paper)}
    monkeypatch.setattr(encode, "code", lambda module: f"edited {module}")
    after = {run: [store(run).folder for store in stores] for run in (tiny, paper)}
    assert not set(before[tiny]) & set(after[tiny])
    assert before[paper] == after[paper]
