"""One loader for a folder and its faults; encoding equals the pipeline's own."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
import torch

from direct.common import manifest
from direct.common.errors import UserError
from direct.config import Model
from direct.models import codec
from direct.models.pipeline import architecture, identity, load_pipeline, load_transformer

PROMPTS = ["a red ball falls", "", "a  small box   slides &amp;amp; rolls to the left "]


@pytest.fixture(scope="module")
def pipeline(pipeline_folder):
    return load_pipeline(str(pipeline_folder))


@pytest.fixture
def copy(pipeline_folder, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(pipeline_folder, folder)
    return folder


def test_parts_are_frozen_and_in_eval_mode(pipeline):
    for part in (pipeline.vae, pipeline.text_encoder, pipeline.transformer):
        assert not part.training and not any(p.requires_grad for p in part.parameters())
    assert type(pipeline).__name__ == "WanPipeline"


def test_bfloat16_leaves_the_vae_in_fp32(pipeline_folder):
    loaded = load_pipeline(str(pipeline_folder), dtype=torch.bfloat16)
    assert loaded.transformer.dtype == torch.bfloat16 and loaded.vae.dtype == torch.float32
    alone = load_pipeline(str(pipeline_folder), without=("transformer", "text_encoder"))
    assert alone.transformer is None and alone.text_encoder is None and alone.vae is not None


def test_embeddings_are_the_pipelines_own(pipeline):
    embeddings, lengths = codec.encode_prompts(pipeline, PROMPTS, 16)
    theirs = pipeline._get_t5_prompt_embeds(PROMPTS, max_sequence_length=16)
    torch.testing.assert_close(embeddings, theirs, rtol=1e-5, atol=1e-6)
    assert lengths.tolist()[:2] == [5, 1]  # four words, and the end token that is all of ""
    for row, length in zip(embeddings, lengths, strict=True):
        assert (row[length:] == 0).all() and (row[:length].abs().sum(-1) > 0).all()


def test_embedding_does_not_depend_on_the_other_prompts(pipeline):
    alone, _ = codec.encode_prompts(pipeline, PROMPTS[:1], 16)
    among, _ = codec.encode_prompts(pipeline, [*PROMPTS * 13, PROMPTS[0]], 16)
    assert torch.equal(among[-1], alone[0])


def test_prompt_beyond_the_encoder_is_refused_not_cut(pipeline):
    words = " ".join(["ball"] * 7)
    assert codec.encode_prompts(pipeline, [words], 8)[1].tolist() == [8]
    with pytest.raises(UserError, match=r"has 9 tokens, more than model.text_length=8"):
        codec.encode_prompts(pipeline, [words + " falls"], 8)
    with pytest.raises(UserError, match="at least one"):
        codec.encode_prompts(pipeline, [], 8)


def test_latents_are_the_normalised_mode_and_come_back(pipeline):
    videos = np.random.default_rng(0).integers(0, 256, (9, 5, 16, 16, 3), np.uint8)
    latents = codec.encode_videos(pipeline, videos)
    assert latents.shape == (9, 4, 2, 4, 4) and latents.dtype == torch.float32
    pixels = torch.from_numpy(videos[8:]).permute(0, 4, 1, 2, 3) / 255 * 2 - 1
    mode = pipeline.vae.encode(pixels).latent_dist.mode()
    config = pipeline.vae.config
    mean, std = (
        torch.tensor(values).view(1, -1, 1, 1, 1)
        for values in (config.latents_mean, config.latents_std)
    )
    torch.testing.assert_close(latents[8:], (mode - mean) / std, rtol=1e-4, atol=1e-5)
    decoded = codec.decode_latents(pipeline, latents)
    theirs = pipeline.vae.decode(latents[8:] * std + mean).sample
    expected = ((theirs + 1) / 2 * 255).permute(0, 2, 3, 4, 1).numpy()
    assert decoded.dtype == np.uint8 and decoded.shape == videos.shape
    assert np.abs(decoded[8:] - expected).max() <= 0.51


def test_batches_have_one_shape_and_cover_everything():
    assert [(c.tolist(), n) for c, n in codec.batches(5, 3)] == [([0, 1, 2], 3), ([3, 4, 4], 2)]
    assert list(codec.batches(0, 3)) == []


def test_manifest_names_what_is_damaged_or_missing(copy):
    manifest.write_manifest(copy)
    load_pipeline(str(copy))
    weights = copy / "vae" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    for load in (load_pipeline, load_transformer):
        with pytest.raises(UserError, match=r"vae/diffusion_pytorch_model.safetensors is damaged"):
            load(str(copy))
    weights.unlink()
    with pytest.raises(UserError, match=r"safetensors is missing; restore the folder"):
        load_pipeline(str(copy))


@pytest.mark.parametrize("part", ["vae/diffusion_pytorch_model", "text_encoder/model"])
@pytest.mark.parametrize("fault", ["cut", "gone"])
def test_without_a_manifest_a_bad_weight_file_is_one_sentence(copy, part, fault):
    weights = copy / f"{part}.safetensors"
    weights.write_bytes(weights.read_bytes()[:100]) if fault == "cut" else weights.unlink()
    with pytest.raises(UserError, match=r"the weights at .*copy cannot be loaded") as caught:
        load_pipeline(str(copy))
    assert "\n" not in str(caught.value)


def test_pickle_where_safetensors_is_expected_is_refused_unread(copy, tmp_path):
    class Canary:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "canary"),)

    weights = copy / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    torch.save({"proj_out.weight": Canary()}, weights.with_suffix(".bin"))
    for place in (str(copy), copy / "transformer"):
        with pytest.raises(UserError, match="cannot be loaded"):
            load_transformer(place)
    assert not (tmp_path / "canary").exists()


def test_tensor_that_is_not_in_the_file_is_refused(copy):
    from safetensors.torch import load_file, save_file

    weights = copy / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    del tensors["proj_out.weight"]
    save_file(tensors, weights)
    with pytest.raises(UserError, match=r"proj_out.weight"):
        load_transformer(str(copy))


@pytest.mark.parametrize("name", ["/no/such/folder", "nonsense", "a/b/c"])
def test_name_that_is_neither_folder_nor_id_is_refused(name):
    with pytest.raises(UserError, match="a folder or a hub id"):
        load_pipeline(name)


def test_identity_follows_the_bytes_not_the_place(copy, pipeline_folder):
    same = identity(Model(pipeline=str(pipeline_folder)))
    assert identity(Model(pipeline=str(copy))) == same
    (copy / "vae" / "config.json").write_text("{}")
    assert identity(Model(pipeline=str(copy))) != same
    ids = {identity(Model(pipeline=f"owner/name@{c * 40}")) for c in "ab"}
    assert len(ids) == 2


@pytest.mark.parametrize("name", ["owner/name", "owner/name@main", "owner/name@0fad780"])
def test_hub_id_that_may_mean_other_weights_one_day_is_refused(name):
    with pytest.raises(UserError, match="which commit"):
        load_pipeline(name)
    with pytest.raises(UserError, match="which commit"):
        identity(Model(pipeline=name))


def test_hub_id_is_loaded_at_its_commit(pipeline_folder, tmp_path, monkeypatch):
    """From the hub's own cache, without a network: another commit is not there."""
    import shutil

    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    commit = "0123456789" * 4
    shutil.copytree(pipeline_folder, tmp_path / f"models--owner--name/snapshots/{commit}")
    here = load_transformer(f"owner/name@{commit}").state_dict()
    there = load_transformer(str(pipeline_folder)).state_dict()
    assert all(torch.equal(here[name], there[name]) for name in there)
    assert architecture(Model(pipeline=f"owner/name@{commit}"), "vae")
    with pytest.raises(UserError, match="cannot be loaded"):
        load_transformer(f"owner/name@{'f' * 40}")
