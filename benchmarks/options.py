"""Values on the benchmarks' command lines: one that makes no sense is refused before any work."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

LONGEST = 86_400.0  # seconds
BATCHES, PROCESSES = 1024, 64  # at most


def number(most: int) -> Callable[[str], int]:
    """A whole number from 1 to `most`, as argparse's `type`."""

    def parse(text: str) -> int:
        if not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text[:40]!r} is no number from 1 to {most}")
        return int(text)

    return parse


def numbers(most: int) -> Callable[[str], tuple[int, ...]]:
    """Some of them, as 1,4,8."""

    def parse(text: str) -> tuple[int, ...]:
        return tuple(map(number(most), text.split(",")))

    return parse


def duration(text: str) -> float:
    """Above 0, and at most a day's seconds, or as many minutes."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= LONGEST:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no duration; use above 0")
    return value
