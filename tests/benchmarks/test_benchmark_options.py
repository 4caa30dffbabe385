"""What the benchmarks' command lines refuse, before anything is measured."""

import argparse
import sys

import pytest

from benchmarks import machine_code, options, report, step, target
from benchmarks.accept import __main__ as accept
from direct.common.errors import UserError


def test_values():
    assert options.number(8)("8") == 8 and options.numbers(8)("1,4,8") == (1, 4, 8)
    assert options.duration("2.5") == 2.5
    for text in ("0", "-4", "9", "x", "", "1.0", "1e2", "9" * 5000):
        with pytest.raises(argparse.ArgumentTypeError, match="is no number from 1 to 8"):
            options.number(8)(text)
    for text in ("", "1,", ",1", "1,x", "0,1"):
        with pytest.raises(argparse.ArgumentTypeError, match="is no number from 1 to 8"):
            options.numbers(8)(text)
    for text in ("0", "-1", "nan", "inf", "1e9", "x", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="is no duration"):
            options.duration(text)


@pytest.mark.parametrize("main", [step.main, report.main, machine_code.main, accept.main])
def test_a_place_that_cannot_be_written_is_refused_first(monkeypatch, main, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setattr(sys, "argv", ["program", "--out", str(tmp_path / "file/x.md")])
    with pytest.raises(UserError, match="file is no folder that may be written"):
        main()


def test_a_count_is_refused_by_the_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["program", "--counts", "1,9"])
    with pytest.raises(SystemExit):
        target.main()
    assert "argument --counts: '9' is no number from 1 to 4" in capsys.readouterr().err


def test_parts_that_are_none_are_refused(monkeypatch):
    for text in ("", ";", "kernels, tiny;"):
        with pytest.raises(UserError, match="--only '' is no part"):
            accept.main(["--only", text])
