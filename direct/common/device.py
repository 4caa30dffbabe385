"""Which processor or GPU computes: results agree bit for bit on one kind of it alone."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path


@cache
def name() -> str:
    """The GPU's name in words, or the processor's; torch may be absent."""
    try:
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name()
    except ImportError:
        pass
    try:
        text = Path("/proc/cpuinfo").read_text()
        names = [x.split(":", 1)[1].strip() for x in text.splitlines() if "model name" in x]
        return names[0] if names else platform.machine()
    except OSError:
        return platform.processor() or platform.machine()
