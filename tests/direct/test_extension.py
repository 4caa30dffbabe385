"""The compiled kernels are loaded once, or it is said why not."""

import subprocess
import sys

import pytest
import torch

from direct import extension


def test_kernels_run_where_they_are_loaded(monkeypatch):
    assert extension.runs_on(torch.device("cpu")) == (extension.MISSING is None)
    assert not extension.runs_on(torch.device("meta"))
    monkeypatch.setattr(extension, "MISSING", "not built")
    monkeypatch.setattr(extension, "HAS_CUDA", True)
    assert not any(extension.runs_on(torch.device(name)) for name in ("cpu", "cuda"))
    monkeypatch.setattr(extension, "MISSING", None)
    assert extension.runs_on(torch.device("cuda", 1))
    monkeypatch.setattr(extension, "HAS_CUDA", False)
    assert not extension.runs_on(torch.device("cuda"))


def test_a_library_that_is_absent_or_damaged_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(extension, "PATH", tmp_path / "_C.abi3.so")
    assert extension._load().startswith("_C.abi3.so was not built: install again")
    extension.PATH.write_bytes(b"no library")
    said = extension._load()
    assert said.startswith("_C.abi3.so cannot be loaded (") and "under this torch" in said


def test_the_note_about_cuda_is_read_from_the_file(monkeypatch, tmp_path):
    monkeypatch.setattr(extension, "PATH", tmp_path / "_C.abi3.so")
    assert extension.cuda_note() == "none, and no note of why"
    extension.PATH.write_bytes(b"\0\1direct-cuda:none, nvcc failed: out of memory\0\2")
    assert extension.cuda_note() == "none, nvcc failed: out of memory"


@pytest.mark.skipif(extension.MISSING is not None, reason="no compiled kernels")
def test_operators_know_their_shapes_without_data():
    key = torch.empty(3, 2, dtype=torch.int64, device="meta")
    drawn = torch.ops.direct.normal(key, 50, 1)
    assert drawn.shape == (3, 50) and drawn.dtype == torch.float32 and drawn.is_meta
    latents = torch.empty(3, 4, 5, dtype=torch.bfloat16, device="meta").transpose(1, 2)
    path = torch.ops.direct.interpolate(latents, key, torch.empty(3, device="meta"))
    assert path.shape == latents.shape and path.dtype == torch.bfloat16 and path.is_contiguous()


@pytest.mark.slow
def test_without_the_library_plain_torch_does_it_and_says_so():
    """In a process of its own, to which the file is not there."""
    code = """
import pathlib
from direct import config
real = pathlib.Path.exists
pathlib.Path.exists = lambda path: path.name != "_C.abi3.so" and real(path)
import torch
from direct import extension, velocity_loss
v = torch.zeros(1, 8)
print(velocity_loss(v, v, v + 2).loss.item(), extension.HAS_CUDA)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "4.0 False\n", done.stderr
    assert "plain torch instead, slower: _C.abi3.so was not built" in done.stderr
