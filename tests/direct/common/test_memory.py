"""Memory that is given back is used again, and large blocks are returned to the system."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PASSES = """
import ctypes, resource, sys
from direct.common import memory

ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: pages of one size, on any system

def passes(count, size, blocks=8):
    for _ in range(count):
        held = [b"x" * size for _ in range(blocks)]

def faults(work):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

if sys.argv[1] == "kept":
    memory.keep_freed()
passes(3, 5_000_000)
again = faults(lambda: passes(5, 5_000_000))
before = resident()
passes(1, 100_000_000, 2)
print(again, resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's malloc alone")
def test_the_second_pass_takes_the_first_ones_memory():
    def run(how):
        command = [sys.executable, "-c", PASSES, how]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return [int(number) for number in said.split()]

    (kept, held), (fresh, _) = run("kept"), run("default")
    assert fresh > 5 * 8 * 5_000_000 / 4096 / 2  # at least half of the pages, in every pass
    assert kept < 100
    assert held < 2**26  # of 200 MB in blocks of 100 MB
