"""setup.py: which architectures are compiled, and what is noted where CUDA's code is left out."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from setuptools import Distribution, Extension

ROOT = Path(__file__).parent.parent
NVCC = """#!/bin/sh
case $1 in
--version) echo 'Cuda compilation tools, release 12.4, V12.4.99' ;;
--list-gpu-arch) printf 'compute_80\\ncompute_90\\n' ;;
*) echo 'one.cu: warning'; echo 'nvcc fatal   : "x" \\ is unsupported'; exit 1 ;;
esac
"""


@pytest.fixture
def setup():
    spec = importlib.util.spec_from_file_location("setup_of_direct", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def nvcc(tmp_path, monkeypatch):
    """An nvcc of an older CUDA, that cannot compile."""
    path = tmp_path / "bin/nvcc"
    path.parent.mkdir()
    path.write_text(NVCC)
    path.chmod(0o755)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    monkeypatch.delenv("DIRECT_CUDA_ARCHS", raising=False)
    return path


def built(setup, monkeypatch, tmp_path) -> list[tuple[str, object]]:
    """The notes of the libraries that are tried, and the compiler of each; only nvcc is run."""
    tried = []

    def build(self, output, cuda_note, cuda=None):
        tried.append((cuda_note, cuda and cuda.archs))
        if cuda:
            setup.run([cuda.nvcc, "-c", "kernels.cu"])

    monkeypatch.setattr(setup.Build, "_build", build)
    monkeypatch.chdir(tmp_path)
    command = setup.Build(Distribution({"name": "x", "ext_modules": []}))
    command.ensure_finalized()
    command.build_extension(Extension("direct._C", sources=[]))
    return tried


def test_only_what_nvcc_knows_is_compiled(setup, nvcc, monkeypatch):
    cuda = setup.find_cuda()
    assert (cuda.archs, cuda.unknown) == (["80", "90"], ["100", "120"])
    assert str(cuda) == "12.4 for sm_80, sm_90; this nvcc does not know 100, 120"
    monkeypatch.setenv("DIRECT_CUDA_ARCHS", "90a, 80")
    assert str(setup.find_cuda()) == "12.4 for sm_90a, sm_80"
    monkeypatch.setenv("DIRECT_CUDA_ARCHS", "100;120")
    with pytest.raises(setup.NoCuda, match="nvcc knows none of 100, 120"):
        setup.find_cuda()


def test_a_compiler_that_fails_is_noted_with_its_first_complaint(
    setup, nvcc, monkeypatch, tmp_path, capsys
):
    with_cuda, without = built(setup, monkeypatch, tmp_path)
    assert with_cuda[1] == ["80", "90"]
    assert without == ('none, nvcc failed: nvcc fatal   : "x" \\ is unsupported', None)
    assert "direct: no CUDA kernels: nvcc failed: nvcc fatal" in capsys.readouterr().out


def test_the_note_is_a_c_string_whatever_a_compiler_said(setup, tmp_path):
    said = 'none, nvcc failed: "x" \\ \N{RIGHTWARDS ARROW}\n'
    (command, _), *_ = setup.cpu_jobs(["c++"], tmp_path, tmp_path, False, said)
    assert command[-5:-4] == ['-DDIRECT_CUDA="none, nvcc failed: x"']


def test_no_nvcc_and_no_architectures_are_told_apart(setup, nvcc, monkeypatch, tmp_path):
    monkeypatch.setenv("DIRECT_CUDA_ARCHS", "")
    assert built(setup, monkeypatch, tmp_path) == [("none, DIRECT_CUDA_ARCHS was empty", None)]
    monkeypatch.delenv("DIRECT_CUDA_ARCHS")
    monkeypatch.setenv("CUDA_HOME", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert built(setup, monkeypatch, tmp_path) == [("none, nvcc was not on the path", None)]


def test_a_linker_that_misses_a_library_names_it(setup):
    said = "/usr/bin/ld: cannot find -lcudart_static: No such file\ncollect2: error: ld returned 1"
    assert setup.complaint(said).startswith("/usr/bin/ld: cannot find -lcudart_static")


def test_nvcc_as_a_python_package_finds_its_runtime(setup, nvcc, tmp_path, monkeypatch):
    """It lies in lib, where nvcc itself looks only in lib64."""
    linked = []
    monkeypatch.setattr(setup, "run", lambda command: None)
    monkeypatch.setattr(setup, "link", lambda linker, *rest: linked.append(linker))
    command = setup.Build(Distribution({"name": "x", "ext_modules": []}))
    command.ensure_finalized()
    command.build_temp = str(tmp_path / "work")
    command._build(tmp_path / "out" / "_C.so", "", setup.find_cuda())
    assert f"-L{tmp_path / 'lib'}" in linked[0]
