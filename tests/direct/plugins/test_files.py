"""Importing users' files: once, in one sentence where it fails; in a worker what it knows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from direct import plugins
from direct.common.errors import UserError
from direct.identity import canonical, identity
from direct.plugins import files, registry
from direct.profiles import profile
from direct.settings import override
from sweeps.cell import read_config, write_config

ROOT = Path(__file__).resolve().parents[3]
TEXT = "@plugins.target(weight=0.1)\ndef still(seen):\n    return seen.x\n"


def test_a_file_is_imported_once_with_what_lies_beside_it(tmp_path, plugged):
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "beside_it.py").write_text("VALUE = 3\n")
    path = plugged("import beside_it\n\nVALUE = beside_it.VALUE\n")
    module = plugins.load(path)
    assert module.VALUE == 3 and plugins.load(str(path)) is module


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(:\n", r"SyntaxError: .*\(line 4\)"),
        ("\nimport no_such_module\n", r"ModuleNotFoundError: No module named .*\(line 5\)"),
        ("plugins.targett\n", r"AttributeError: .*targett.*\(line 4\)"),
    ],
)
def test_a_file_that_fails_is_one_sentence_with_its_line(plugged, text, said):
    with pytest.raises(UserError, match=f"mine.py cannot be imported: {said}") as error:
        plugged(text)
    assert "\n" not in str(error.value)


def test_what_is_no_file_of_python_is_refused(tmp_path):
    for path, said in ((tmp_path / "none.py", "does not exist"), (tmp_path, "is not a Python fi")):
        with pytest.raises(UserError, match=said):
            plugins.load(path)


@pytest.fixture
def folder(tmp_path, plugged):
    """A cell's folder that uses a plug-in, which this process does not know any more."""
    plugged(TEXT)
    config = canonical(profile("tiny"))
    run = tmp_path / identity(config)
    write_config(run, asdict(config))
    registry._entries.clear()
    files._modules.clear()
    return run


def test_a_worker_imports_what_its_cell_names(folder, tmp_path):
    assert read_config(folder).plugins.content[0].startswith("target still=")
    assert registry.entry("still").where == str(tmp_path / "user" / "mine.py")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda path: path.unlink(), "the target still is not here: there is no file .*mine.py"),
        (
            lambda path: path.write_text(
                path.read_text().replace("seen.x", "seen.eps") + "raise SystemExit('executed')\n"
            ),
            "the target still of .*mine.py is not the one that this cell was planned with",
        ),
        (lambda path: path.write_text("x = 1\n"), r"planned with \(absent, not "),
    ],
)
def test_a_worker_without_it_says_so_and_executes_nothing(folder, tmp_path, change, said):
    change(tmp_path / "user" / "mine.py")
    with pytest.raises(UserError, match=said) as error:
        read_config(folder)
    assert "\n" not in str(error.value) and not registry.entries()
    assert read_config(folder, load=False).plugins.content, "its name is whole: fsck has no fault"


def test_an_entry_point_is_found_by_its_name(tmp_path, plugged, monkeypatch):
    plugged("")  # what is registered here is gone afterwards
    (tmp_path / "user" / "their_package.py").write_text("from direct import plugins\n\n\n" + TEXT)
    point = EntryPoint("theirs", "their_package", files.GROUP)

    def points(group, name="theirs"):
        return [point] if (group, name) == (files.GROUP, "theirs") else []

    monkeypatch.setattr(files.metadata, "entry_points", points)
    files.installed.cache_clear()
    on = canonical(override(profile("tiny"), "still.weight=0.2"))
    assert on.plugins.where == ("still=entry point theirs",)
    registry._entries.clear()
    sys.modules.pop("their_package")
    assert plugins.need(on) is on and registry.entry("still")
    registry._entries.clear()
    monkeypatch.setattr(files.metadata, "entry_points", lambda group, name="": [])
    with pytest.raises(UserError, match="no installed package has the entry point theirs"):
        plugins.need(on)
    files.installed.cache_clear()
    sys.modules.pop("their_package", None)


@pytest.mark.slow
def test_any_command_loads_the_files_that_the_environment_names(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("from direct import plugins\n\n\n" + TEXT)
    code = "from direct.profiles import profile; print(profile('tiny').plugins.settings)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT), files.VARIABLE: str(path)},
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert done.stdout.strip() == "('still.weight=0.1',)"
    assert "plugins" in json.dumps(asdict(profile("tiny")))
