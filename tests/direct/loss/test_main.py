"""python -m direct.velocity_loss: the report of what can run here."""

import sys

import pytest

from direct import extension
from direct.common.errors import UserError
from direct.loss import __main__ as report


def test_backends_and_bytes(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["velocity_loss"])
    assert report.main() == 0
    printed = capsys.readouterr().out
    assert "eager   usable" in printed
    # The figures: 18 with both noises given, 14 with them drawn, 12 with eps drawn too.
    lines = {line[:48].strip(): line.split()[-2:] for line in printed.splitlines()}
    assert lines["all terms, noises given"] == ["18", "36"]
    assert lines["all terms, negatives' noises drawn or marginal"] == ["14", "28"]
    assert lines["all terms, eps drawn too"] == ["12", "24"]


@pytest.mark.skipif(extension.MISSING is not None, reason="no compiled kernels")
def test_the_note_about_cuda_is_shown(capsys, monkeypatch):
    monkeypatch.setattr(extension, "MISSING", None)
    monkeypatch.setattr(extension, "HAS_CUDA", False)
    monkeypatch.setattr(extension, "cuda_note", lambda: "none, nvcc was not on the path")
    report.print_backends()
    printed = capsys.readouterr().out
    assert "cuda    not usable: the extension was built without CUDA (nvcc was not on" in printed
    assert "_C.abi3.so, CUDA: none, nvcc was not on the path" in printed


def test_reasons_are_given(capsys, monkeypatch):
    monkeypatch.setattr(extension, "MISSING", "_C.abi3.so was not built")
    monkeypatch.setattr(extension, "HAS_CUDA", False)
    report.print_backends()
    assert "cpp     not usable: _C.abi3.so was not built" in capsys.readouterr().out
    with pytest.raises(UserError, match="no CUDA kernels to show: _C"):
        report.print_machine_code("sm_90")
