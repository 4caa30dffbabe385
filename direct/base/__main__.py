"""Trains the packaged miniature pipeline from nothing and writes it with its model card.

    python -m direct.base --out direct/weights/tiny

Two processes, about three hours on two cores. Stages: the VAE; the corpus encoded by it;
then side by side the VAE's decoder further on whole clips, and transformer and text encoder on the
latents; then the decoder thrice more. What a finished stage wrote under --work is used again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..common.errors import command
from ..common.files import check_folder


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m direct.base",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="the pipeline folder to write")
    parser.add_argument("--work", type=Path, default=Path("runs/base"), help="stages in between")
    arguments = parser.parse_args()
    check_folder(arguments.out, "--out")
    check_folder(arguments.work, "--work")
    from .stages import run

    run(arguments.work, arguments.out)


if __name__ == "__main__":
    command(main)
