"""`python -m direct.peers`: clips by Table 2's other models (evaluate/peers.py)."""

from .common.errors import command
from .evaluate.peers import main

if __name__ == "__main__":
    command(main)
