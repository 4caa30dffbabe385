"""Importing the package is light."""

from __future__ import annotations

import subprocess
import sys

import direct
from direct import velocity_loss


def run(program):
    """What a program prints in a fresh interpreter."""
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_import_is_light():
    program = "import sys, direct, direct.config; print('torch' in sys.modules)"
    assert run(program) == "False"
    assert callable(direct.velocity_loss) and direct.velocity_loss is velocity_loss
