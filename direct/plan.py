"""`python -m direct.plan`: what each step costs: GPU-hours, memory, disk (measure/plan.py)."""

from .common.errors import command
from .measure.plan import main

if __name__ == "__main__":
    command(main)
