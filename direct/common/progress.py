"""How far a long step is: what steps tell, and the line that a person sees."""

from __future__ import annotations

import sys
from collections.abc import Callable

Progress = Callable[[str, int, int], None]  # (stage, done, total)


def silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


def show_progress(stage: str, done: int, total: int) -> None:
    """A command's progress: one line on stderr, written over until all is done."""
    end = "\n" if done == total else ""
    print(f"\r{stage} {done}/{total}", end=end, file=sys.stderr, flush=True)
