"""Text from outside, made safe to print."""

from __future__ import annotations

import unicodedata


def plain(text: str) -> str:
    """`text` without control and bidirectional characters, which a terminal would obey."""
    return "".join(c if unicodedata.category(c) not in ("Cc", "Cf", "Cs") else " " for c in text)
