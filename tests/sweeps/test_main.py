"""`python -m sweeps`: a list of its commands, and every command of `sweeps.run`."""

import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.util import find_spec

import pytest
from programs import ROOT

from sweeps import __main__ as commands
from sweeps import run
from sweeps.ablations import ABLATIONS
from sweeps.options import VERBS


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_without_a_name_it_lists_every_sweep_and_verb(monkeypatch, capsys, arguments):
    monkeypatch.setattr(sys, "argv", ["sweeps", *arguments])
    assert commands.main() == 0
    lines = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line[:2] == "  "]
    assert {*ABLATIONS, "gallery", *commands.VERBS, *commands.OTHERS} == set(lines)


def test_every_verb_it_lists_is_one_and_every_other_command_is_a_module():
    assert set(commands.VERBS) <= set(VERBS)
    assert set(VERBS) - set(commands.VERBS) == {"gallery", "import"}, "a sweep, and with export"
    assert all(find_spec(name) for name in commands.OTHERS)


def test_a_name_is_a_command_of_run(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["sweeps", "status"])
    monkeypatch.setattr(run, "main", lambda: 7)
    assert commands.main() == 7


@pytest.mark.slow
def test_an_error_is_one_line_and_status_2():
    done = subprocess.run(
        [sys.executable, "-m", "sweeps", "statsu"], cwd=ROOT, text=True, capture_output=True
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "did you mean status" in done.stderr


def test_the_console_script_is_there():
    script = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["sweeps"]
    module, name = script.split(":")
    assert callable(getattr(import_module(module), name))
