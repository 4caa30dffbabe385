"""When to do again what takes long with thousands of cells."""

from __future__ import annotations

import time


class Seldom:
    """It has a twentieth of the time: `with` this it is done, and timed.

    What takes no time is due `seconds` after the last time.
    """

    def __init__(self, seconds: float):
        self.seconds, self.next, self.began = seconds, time.monotonic() + seconds, 0.0

    @property
    def due(self) -> bool:
        return time.monotonic() >= self.next

    def __enter__(self) -> None:
        self.began = time.monotonic()

    def __exit__(self, *error: object) -> None:
        now = time.monotonic()
        self.next = now + max(self.seconds, 19 * (now - self.began))
