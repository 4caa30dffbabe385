"""The picture of a terminal: a real program's screen, and nothing that is fetched."""

import importlib.util
import re
import shutil
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "docs/terminal.py"

PROGRAM = """import time
for k in range(3):
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
@pytest.mark.skipif(not shutil.which("tmux"), reason="needs tmux")
def test_the_first_screen_that_matches_is_taken(terminal):
    command = [sys.executable, "-c", PROGRAM]
    screen = terminal.screen_of(command, r"cell 1")
    assert "cell 0" in screen and "cell 1" in screen and "cell 2" not in screen
    assert "\x1b[31m" in screen
    with pytest.raises(SystemExit, match="never showed"):
        terminal.screen_of([sys.executable, "-c", "pass"], "cell")
