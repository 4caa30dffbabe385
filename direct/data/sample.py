"""A clip, or a prompt without one, as the method sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Sample:
    """One clip or prompt, as the method sees it."""

    id: str
    prompt: str
    law: str  # coarse physics law, lower case
    video: Callable[[], np.ndarray]  # uint8 [T, H, W, 3], rendered or read when called
    # A prompt with one physics axis changed; None where there is none
    perturb: Callable[[str, np.random.Generator], str | None] = lambda axis, rng: None
    record: Any = None  # what the judge needs to know about the clip
    content: str = ""  # names the clip's pixels, where its id and prompt do not
