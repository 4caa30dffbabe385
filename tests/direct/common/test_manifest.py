"""A folder's checksums, as `sha256sum` writes and checks them."""

import hashlib
import shutil
import subprocess

import pytest

from direct.common.manifest import MANIFEST, fault_of, write_manifest


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "weights.bin").write_bytes(b"\0\1\2")
    (tmp_path / "config.json").write_text("{}")
    write_manifest(tmp_path)
    return tmp_path


def test_every_file_is_listed_by_its_hash_and_its_path(folder):
    digest = hashlib.sha256(b"\0\1\2").hexdigest()
    lines = (folder / MANIFEST).read_text().splitlines()
    assert lines == [
        f"{hashlib.sha256(b'{}').hexdigest()}  config.json",
        f"{digest}  vae/weights.bin",
    ]
    assert fault_of(folder) is None
    write_manifest(folder)  # its own list is not on it
    assert (folder / MANIFEST).read_text().splitlines() == lines


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum here")
def test_sha256sum_agrees(folder):
    assert subprocess.run(["sha256sum", "--check", "--quiet", MANIFEST], cwd=folder).returncode == 0


def test_what_is_wrong_is_named(folder):
    (folder / "vae" / "weights.bin").write_bytes(b"\0\1\3")
    assert "weights.bin is damaged" in fault_of(folder)
    (folder / "vae" / "weights.bin").unlink()
    assert fault_of(folder) == f"{folder / 'vae' / 'weights.bin'} is missing"
    (folder / MANIFEST).write_text("")
    assert fault_of(folder) == f"{folder / MANIFEST} is empty"
    (folder / MANIFEST).unlink()
    assert fault_of(folder) == f"{folder / MANIFEST} is missing"


def test_a_file_that_came_later_is_no_fault(folder):
    (folder / "notes.txt").write_text("mine")
    assert fault_of(folder) is None
