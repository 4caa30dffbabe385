r"""A picture of a terminal in which a command runs, for README. It needs tmux.

python docs/terminal.py docs/terminal.svg "2 of 4 cells.*\n.*(generate|judge).*\n.*seed 0 " \
    python -m sweeps.run --grid train.learning_rate=1e-4,3e-4,6e-4,1e-3 --seeds 0 \
    --set train.steps=50 --prompts 64

The second argument is a regular expression: the first screen that matches it is drawn, as it is.
The picture in the repository is of this command, on 2 cores that other work shared.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

SIZE = (92, 12)  # of the terminal, characters
TMUX = ("tmux", "-L", f"picture-{os.getpid()}")  # a server of its own


def screen_of(command: list[str], wanted: str) -> str:
    """The first screen that matches `wanted`, with its colours. The command runs to its end.

    Raises `SystemExit` if the command ends before.
    """
    width, height = map(str, SIZE)
    subprocess.run(
        [*TMUX, "new-session", "-d", "-x", width, "-y", height, shlex.join(command)], check=True
    )
    found = ""
    while True:
        time.sleep(0.2)
        done = subprocess.run(
            [*TMUX, "capture-pane", "-e", "-p"], text=True, capture_output=True, check=False
        )
        if done.returncode:  # the command has ended, and the server with it
            break
        if not found and re.search(wanted, Text.from_ansi(done.stdout).plain):
            found = done.stdout
    if not found:
        raise SystemExit(f"{shlex.join(command)} never showed {wanted!r}")
    return found


def drawn(screen: str, command: str) -> str:
    """The screen below the command, as SVG in the reader's own fonts: it asks for nothing."""
    offline = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.S)
    console = Console(record=True, width=SIZE[0], file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ {command}", style="bold"))
    console.print(Text.from_ansi(screen.rstrip()), soft_wrap=True)
    return console.export_svg(title="", code_format=offline, unique_id="terminal")


if __name__ == "__main__":
    target, wanted, *command = sys.argv[1:]
    Path(target).write_text(drawn(screen_of(command, wanted), shlex.join(command)))
