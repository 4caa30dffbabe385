"""`python -m direct.velocity_loss`: which backends of the loss can run here (loss/__main__.py).

As a name, `direct.velocity_loss` is the loss itself. Importing this file would put a module in the
function's place, so it refuses.
"""

if __name__ != "__main__":
    raise ImportError(
        "direct.velocity_loss is a function, not a module: write `from direct import "
        "velocity_loss`; its modules are in direct.loss"
    )

from .common.errors import command
from .loss.__main__ import main

command(main)
