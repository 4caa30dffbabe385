"""The commands of `direct`: `python -m direct COMMAND`, or `direct COMMAND`, each with --help."""

from __future__ import annotations

import runpy
import sys

from .common.errors import UserError, command, nearest

COMMANDS = {
    "train": "one training, in one process or under torchrun",
    "prepare": "from WISA-80K to what training reads: curate, encode, perturb, render, verify",
    "evaluate": "judges a folder of clips by VideoPhy or WorldModelBench",
    "generate": "a clip of a finished run, for any prompt",
    "plan": "what each step costs: GPU-hours, memory, disk",
    "peers": "clips by Table 2's other models",
    "world": "the tiny profile's physics world: pictures of it, and its judge's validation",
    "base": "trains the miniature pipeline from nothing",
    "velocity_loss": "which backends of the loss run here",
}


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__)
        print("\n".join(f"  {name:<14} {what}" for name, what in COMMANDS.items()))
        return 0
    name = sys.argv[1]
    if name not in COMMANDS:
        raise UserError(f"direct {name} is not a command; {nearest(name, COMMANDS)}")
    sys.argv = [f"direct {name}", *sys.argv[2:]]
    runpy.run_module(f"direct.{name}", run_name="__main__")  # which exits
    return 0


def entry() -> None:
    """The console script."""
    command(main)


if __name__ == "__main__":
    entry()
