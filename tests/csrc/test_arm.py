"""The CPU kernels on ARM: cross-compiled, run under an emulator, the bits of this machine."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import setup as build

CSRC = Path(build.__file__).parent / "csrc"
DRIVER = Path(__file__).parent / "arm" / "driver.cpp"
ARM = shutil.which("aarch64-linux-gnu-g++")
QEMU = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (ARM and QEMU and shutil.which("g++")),
        reason="needs g++, g++-aarch64-linux-gnu and qemu-user-static",
    ),
]


def compiled(compiler, folder):
    """The driver with the portable kernels, by the flags of setup.py."""
    program = folder / Path(compiler).name
    flags = [*build.KERNEL_FLAGS, "-DDIRECT_ISA=portable", f"-I{CSRC}", "-static"]
    sources = [*(CSRC / f"{name}.cpp" for name in build.CPU_SOURCES), DRIVER]
    subprocess.run([compiler, *flags, *sources, "-o", program], check=True)
    return program


@pytest.fixture(scope="module")
def on_arm(tmp_path_factory):
    return compiled(ARM, tmp_path_factory.mktemp("arm"))


def test_the_same_bits_as_here(on_arm, tmp_path):
    here = subprocess.check_output([compiled("g++", tmp_path)], text=True)
    there = subprocess.check_output([QEMU, on_arm], text=True)
    assert len(here.splitlines()) == 5 * (6 * 4 + 2 * 4 + 3)
    assert len(set(here.splitlines())) == len(here.splitlines()), "every case has bits of its own"
    assert there == here


def test_the_vectors_become_neon_instructions(on_arm):
    objdump = ARM.replace("g++", "objdump")
    code = subprocess.check_output([objdump, "-d", "--no-show-raw-insn", on_arm], text=True)
    for name in ("fmul", "fadd", "fsub", "shl"):
        assert re.search(rf"\b{name}\s+v\d+\.4s", code), name
