"""The picture of a terminal: a real program's screen, and nothing that is fetched."""

import importlib.util
import os
import re
import shutil
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace

import pytest

needs_tmux = pytest.mark.skipif(not shutil.which("tmux"), reason="needs tmux")
SOURCE = Path(__file__).parents[2] / "docs/terminal.py"

PROGRAM = """import os, sys, time
until = time.monotonic() + 120
for k in range(3):
    while k == 2 and not os.path.exists(sys.argv[1]) and time.monotonic() < until:
        time.sleep(0.02)
    print(f"\\033[31mcell {k}\\033[0m of 3", flush=True)
time.sleep(0.6)
"""


@pytest.fixture(scope="module")
def terminal():
    spec = importlib.util.spec_from_file_location("terminal", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shown(svg):
    """The text of the picture, a space for each of its non-breaking ones."""
    root = ET.fromstring(svg)
    return "".join(root.itertext()).replace("\xa0", " ")


def test_a_screen_is_drawn_with_its_colours_and_asks_for_nothing(terminal):
    svg = terminal.drawn("plain \x1b[31mred\x1b[0m <b>\n", "a command")
    assert "plain red <b>" in re.sub(r"\s+", " ", shown(svg)) and "$ a command" in shown(svg)
    assert "font-face" not in svg and "url(http" not in svg and "<image" not in svg
    assert len(set(re.findall(r"fill: (#\w+)", svg))) >= 2


@pytest.mark.slow
@needs_tmux
def test_the_first_screen_that_matches_is_taken(terminal, tmp_path, monkeypatch):
    """The program shows its last line only once a screen has matched, and some time longer."""
    matched = tmp_path / "matched"

    def search(wanted, screen):
        found = re.search(wanted, screen)
        if found:
            matched.touch()
        return found

    monkeypatch.setattr(terminal, "re", SimpleNamespace(search=search))
    screen = terminal.screen_of([sys.executable, "-c", PROGRAM, str(matched)], r"cell 1")
    assert "cell 0" in screen and "cell 1" in screen and "cell 2" not in screen
    assert "\x1b[31m" in screen


@needs_tmux
def test_a_command_that_never_shows_it_ends_in_a_sentence(terminal, monkeypatch):
    monkeypatch.setattr(terminal, "TMUX", (*terminal.TMUX[:2], f"picture-{os.getpid()}-never"))
    with pytest.raises(SystemExit, match="never showed"):
        terminal.screen_of([sys.executable, "-c", "pass"], "cell")
