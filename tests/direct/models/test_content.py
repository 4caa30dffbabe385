"""A pipeline's name by content: what loading reads, and nothing that lies beside it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from direct.common import files, manifest
from direct.common.errors import UserError
from direct.models import content

COMMIT = "0123456789" * 4
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture
def copy(pipeline_folder, tmp_path):
    return Path(shutil.copytree(pipeline_folder, tmp_path / "copy"))


@pytest.fixture
def snapshot(pipeline_folder, tmp_path, monkeypatch):
    """The same pipeline in the hub's cache, as it lies there: links to files named by checksum."""
    import huggingface_hub
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    folder = tmp_path / "hub/models--owner--name"
    for path in filter(Path.is_file, pipeline_folder.rglob("*")):
        link = folder / "snapshots" / COMMIT / path.relative_to(pipeline_folder)
        large = path.suffix == ".safetensors"
        blob = folder / "blobs" / (files.file_digest(path) if large else f"git-{path.stem}")
        for place in (link, blob):
            place.parent.mkdir(parents=True, exist_ok=True)
        if large:
            shutil.copyfile(path, blob)
            link.symlink_to(blob)
        else:
            shutil.copyfile(path, link)
    content._asked.cache_clear()
    assert huggingface_hub.try_to_load_from_cache("owner/name", content.INDEX, revision=COMMIT)
    return folder / "snapshots" / COMMIT


def test_what_lies_beside_the_weights_does_not_rename_them(copy, pipeline_folder):
    same = content.of_folder(pipeline_folder)
    notes = {
        f".cache/huggingface/download/{WEIGHTS}.metadata": "commit\netag\n1732795200.5\n",
        ".cache/huggingface/.gitignore": "*",
        "README.md": "a card",
        "transformer/README.md": "another",
        "LICENSE.txt": "free",
        "another-format.safetensors": "of another library",
        "transformer/diffusion_pytorch_model.fp16.safetensors": "a variant",
        "transformer/diffusion_pytorch_model.bin": "a pickle",
        "image_encoder/model.safetensors": "of no part",
        "tokenizer/.lock": "",
    }
    for name, text in notes.items():
        files.write_text(copy / name, text)
    os.utime(copy / WEIGHTS, (1, 1))
    assert content.of_folder(copy) == same
    manifest.write_manifest(copy)
    assert content.of_folder(copy) == same


@pytest.mark.parametrize(
    "name",
    [
        content.INDEX,
        WEIGHTS,
        "vae/config.json",
        "text_encoder/model.safetensors",
        "tokenizer/tokenizer.json",
        "scheduler/scheduler_config.json",
    ],
)
def test_each_file_that_is_loaded_counts(copy, pipeline_folder, name):
    (copy / name).write_bytes((copy / name).read_bytes() + b"\n")
    assert content.of_folder(copy) != content.of_folder(pipeline_folder)


def test_a_file_that_changes_in_place_is_hashed_again(copy):
    before = content.of_folder(copy)
    data = (copy / WEIGHTS).read_bytes()
    (copy / WEIGHTS).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(copy / WEIGHTS, (7, 7))
    assert content.of_folder(copy) != before


def test_a_repository_is_named_as_a_folder_with_its_files(snapshot, pipeline_folder):
    assert content.of_hub("owner/name", COMMIT) == content.of_folder(pipeline_folder)


@pytest.mark.parametrize("cut", [WEIGHTS, "vae/config.json", "tokenizer/tokenizer.json"])
def test_where_a_download_was_cut_off_the_hub_is_asked(snapshot, pipeline_folder, cut, monkeypatch):
    import huggingface_hub

    (snapshot / cut).unlink()
    with pytest.raises(UserError, match="neither all in the hub's cache here nor can the hub"):
        content.of_hub("owner/name", COMMIT)

    def told(self, hub_id, revision, files_metadata):
        assert (hub_id, revision, files_metadata) == ("owner/name", COMMIT, True)
        names = [path for path in pipeline_folder.rglob("*") if path.is_file()]
        large = {path: path.suffix == ".safetensors" for path in names}
        return SimpleNamespace(
            siblings=[
                SimpleNamespace(
                    rfilename=path.relative_to(pipeline_folder).as_posix(),
                    lfs=SimpleNamespace(sha256=files.file_digest(path)) if large[path] else None,
                )
                for path in names
            ]
        )

    def small_file(hub_id, name, revision):
        assert not name.endswith(".safetensors"), "weights are not downloaded to be named"
        return str(pipeline_folder / name)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", told)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", small_file)
    assert content.of_hub("owner/name", COMMIT) == content.of_folder(pipeline_folder)


def test_shards_count_and_must_all_be_there():
    index = {"_class_name": "WanPipeline", "transformer": ["diffusers", "x"], "other": [None, None]}
    shard = "transformer/diffusion_pytorch_model-00002-of-00012.safetensors"
    names = [
        shard,
        "transformer/diffusion_pytorch_model.safetensors.index.json",
        "other/config.json",
    ]
    assert content.loaded(index, names) == sorted(names[:2])


def test_a_folder_without_a_pipeline_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(UserError, match="holds no pipeline"):
        content.of_folder(tmp_path)


def test_the_packaged_weights_keep_their_name():
    """Results and caches of the tiny profile are found by it."""
    from direct.config import Model
    from direct.models.pipeline import identity

    assert identity(Model(pipeline="tiny")) == "d6861239a4a6"
