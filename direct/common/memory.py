"""Memory that tensors give back is kept for the next ones, where models run on the CPU."""

from __future__ import annotations

import ctypes
import platform
from functools import cache

# Of mallopt(3): from which size on a block is mapped by itself, and how much stays free at the end.
MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
MAPPED, KEPT = 2**26, 2**28  # bytes


@cache
def keep_freed() -> None:
    """Up to 256 MiB stay with this process; blocks of 64 MiB and more (weights) do not.

    By default glibc returns the memory of each pass's tensors to the system and asks for it anew,
    page by page: 10,000 page faults, a sixth of a pass over 32 tiny clips. Does nothing elsewhere.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(MMAP_THRESHOLD, MAPPED)
        mallopt(TRIM_THRESHOLD, KEPT)
