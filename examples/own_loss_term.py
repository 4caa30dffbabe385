"""A temporal-difference contrast: v is pushed away from the velocity of a clip that moved on.

python -m sweeps.run examples/own_loss_term.py
"""

import torch

from direct import plugins
from sweeps import Ablation, Row


@plugins.target(weight=0.0, prompted=True)
def moved_on(seen, *, frames: int = 1):
    """The velocity of the same clip later: from the right one it differs by motion alone.

    frames: latent frames by which the clip has moved on
    """
    later = torch.cat([seen.x[:, :, frames:], seen.x[:, :, -frames:]], 2)  # [B, C, T, H, W]
    return seen.eps - later


@plugins.term(weight=0.0)
def jitter(v, seen):
    """Mean square of the error's change from one latent frame to the next."""
    error = v - (seen.eps - seen.x)
    return error.diff(dim=2).square().flatten(1).mean(1)


TEMPORAL = Ablation(
    name="temporal",
    table="temporal",
    title="A temporal-difference contrast",
    header="weight",
    rows=tuple(Row(str(w), {"moved_on.weight": w}) for w in (0.0, -0.005, -0.02)),
    baseline="0.0",
    contrasts=(("-0.005", "PC"), ("-0.02", "PC")),
)
