"""What is asked of each reading: declared before a GPU was seen. docs/log.md tells of changes."""

from __future__ import annotations

import math
from typing import NamedTuple

from .place import Record


class Target(NamedTuple):
    least: float = -math.inf
    most: float = math.inf

    def met(self, value: float | bool | None) -> bool:
        return value is not None and self.least <= value <= self.most

    def __str__(self) -> str:
        if self.most == math.inf:
            return f"at least {self.least:g}"
        if self.least == -math.inf:
            return f"at most {self.most:g}"
        return f"{self.least:g} to {self.most:g}"


TARGETS = {
    "agrees": Target(1),
    "same bits": Target(1),
    "sanitizer errors": Target(most=0),
    # Of the loss's operator, in time of a plain copy of as many bytes.
    "share of a copy, noises given": Target(0.9),
    "share of a copy, noises drawn": Target(0.85),
    "times as fast as the better compiled form": Target(1),
    "times as fast as eager fp32": Target(10),
    "times as fast as others' formulas": Target(1),
    "share of a copy, four targets": Target(0.85),
    "share of a copy, x_t": Target(0.7),
    "share of a copy, noise in float32": Target(0.5),
    "share of a copy, a gradient scaled": Target(0.9),
    "measured over predicted share": Target(0.85, 1.15),
    # The paper: 4.95 over 4.94 s (Table S4), and 85 s a clip on an H200 (App. D).
    "DiReCT's seconds over SFT's": Target(most=1.02),
    "DiReCT's memory over SFT's": Target(most=1.05),
    "seconds a rendered negative": Target(most=85),
    "minutes of lambda_hard": Target(most=8),
}


def short(record: Record) -> bool:
    """Whether a reading misses its target."""
    target = TARGETS.get(record.get("reading", ""))
    return target is not None and not target.met(record["value"])
