"""`python -m direct.plan`: what steps cost, what can be afforded, how it came out (measure/)."""

from .common.errors import command
from .measure.plan_command import main

if __name__ == "__main__":
    command(main)
