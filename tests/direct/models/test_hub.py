"""A pipeline's name: a folder, or a hub id at a commit."""

from __future__ import annotations

import shutil

import pytest
import torch

from direct.common.errors import UserError
from direct.config import Model
from direct.models import hub
from direct.models.hub import located
from direct.models.pipeline import architecture, identity, load_pipeline, load_transformer


@pytest.mark.parametrize("name", ["/no/such/folder", "nonsense", "a/b/c"])
def test_name_that_is_neither_folder_nor_id_is_refused(name):
    with pytest.raises(UserError, match="a folder or a hub id"):
        load_pipeline(name)


@pytest.mark.parametrize("name", ["owner/name", "owner/name@main", "owner/name@0fad780"])
def test_hub_id_that_may_mean_other_weights_one_day_is_refused(name):
    with pytest.raises(UserError, match="which commit"):
        load_pipeline(name)
    with pytest.raises(UserError, match="which commit"):
        identity(Model(pipeline=name))


def test_hub_id_is_loaded_at_its_commit(pipeline_folder, tmp_path, monkeypatch):
    """From the hub's own cache, without a network: another commit is not there."""

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


def test_a_folder_comes_before_a_name_and_tiny_is_in_the_package(tmp_path, monkeypatch):
    assert located(str(tmp_path)) == (str(tmp_path), None)
    assert located(f"owner/name@{'0a' * 20}") == ("owner/name", "0a" * 20)
    folder, commit = located("tiny")
    assert folder.endswith("weights/tiny") and commit is None
    monkeypatch.setattr(hub, "PACKAGED", tmp_path / "gone")
    with pytest.raises(UserError, match="gone is missing; install the package again"):
        located("tiny")


@pytest.mark.parametrize("commit", ["0A" * 20, "0a" * 19, "0a" * 21, "main", ""])
def test_a_commit_is_forty_small_hex_digits(commit):
    with pytest.raises(UserError, match="owner/name@ and the 40 digits"):
        located(f"owner/name@{commit}")
