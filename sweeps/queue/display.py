"""The progress line: a live one on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from direct.common.text import plain

PLAIN_SECONDS = 10.0


class Display:
    """A context: `update` shows a line in place, `say` prints one that stays."""

    def __init__(self) -> None:
        self.live: Any = None
        self.last = -PLAIN_SECONDS

    def __enter__(self) -> Display:
        if sys.stdout.isatty():
            from rich.console import Console

            self.console = Console(highlight=False)
            self.live = self.console.status("")
            self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.live:
            self.live.stop()

    def update(self, text: str) -> None:
        if self.live:
            from rich.markup import escape

            self.live.update(escape(plain(text)))
        elif time.monotonic() - self.last >= PLAIN_SECONDS:
            self.last = time.monotonic()
            print(plain(text), flush=True)

    def say(self, text: str) -> None:
        if self.live:
            self.console.print(plain(text), markup=False)
        else:
            print(plain(text), flush=True)
