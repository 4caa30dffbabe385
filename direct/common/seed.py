"""Seeds: a number that is a pure function of what it is for."""

from __future__ import annotations

from typing import Any

import numpy as np

from .files import digest


def stable_seed(*parts: Any) -> int:
    """A 63-bit seed that is a pure function of its parts (Python's own `hash` is salted)."""
    return int(digest([*map(_plain, parts)], 16), 16) >> 1


def _plain(part: Any) -> Any:
    return part.item() if isinstance(part, np.generic) else part
