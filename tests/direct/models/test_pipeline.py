"""One loader for a folder, its faults and its identity."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from direct.common import manifest
from direct.common.errors import UserError
from direct.config import Model
from direct.models.pipeline import (
    identity,
    latent_shape,
    load_pipeline,
    load_transformer,
    one_sentence,
)
from direct.profiles import profile
from direct.settings import override, with_values


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


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux says what is mapped")
def test_weights_on_the_cpu_are_the_file_itself(copy):
    """Not a copy: eight ranks on one machine share the pages of one file."""
    loaded = load_transformer(str(copy), on="cpu")
    file = copy / "transformer" / "diffusion_pytorch_model.safetensors"
    lines = [line for line in Path("/proc/self/maps").read_text().splitlines() if str(file) in line]
    spans = [[int(end, 16) for end in line.split()[0].split("-")] for line in lines]
    for name, weight in loaded.named_parameters():
        assert any(low <= weight.data_ptr() < high for low, high in spans), name


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


def test_identity_follows_the_bytes_not_the_place(copy, pipeline_folder):
    same = identity(Model(pipeline=str(pipeline_folder)))
    assert identity(Model(pipeline=str(copy))) == same
    (copy / "vae" / "config.json").write_text("{}")
    assert identity(Model(pipeline=str(copy))) != same


@pytest.mark.parametrize(
    ("frames", "height", "width", "shape"),
    [(1, 8, 8, (4, 1, 2, 2)), (5, 16, 24, (4, 2, 4, 6)), (81, 480, 832, (4, 21, 120, 208))],
)
def test_latents_are_the_clip_over_the_strides(pipeline, frames, height, width, shape):
    config = with_values(
        profile("tiny"), {"model.frames": frames, "model.height": height, "model.width": width}
    )
    assert latent_shape(config, pipeline.transformer, pipeline.vae.config) == shape


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("model.frames=4", "model.frames=4 must be a multiple of 4, plus one"),
        ("model.height=12", "model.height=12 must be a multiple of 8"),
        ("model.width=36", "model.width=36 must be a multiple of 8"),
    ],
)
def test_a_size_that_strides_or_patches_do_not_divide_is_refused(pipeline, setting, said):
    config = override(profile("tiny"), setting)
    with pytest.raises(UserError, match=said):
        latent_shape(config, pipeline.transformer, pipeline.vae.config)


def test_what_fails_in_loading_is_one_sentence():
    """Whatever it is: a file of any content makes the libraries raise anything."""
    said = r"weights at here cannot be loaded \(a b\); restore"
    with pytest.raises(UserError, match=said), one_sentence("here"):
        raise ValueError("a\n   b")
    with pytest.raises(UserError, match=r"^as it was$"), one_sentence("here"):
        raise UserError("as it was")
    with pytest.raises(UserError, match="cannot be loaded"), one_sentence("here"):
        _ = 1 // 0  # of a size of 0 in a configuration
