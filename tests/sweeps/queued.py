"""A small queue of cells, and stages that make a result in no time."""

from dataclasses import replace

import fake

from direct.config import Run
from direct.profiles import profile
from direct.settings import override
from sweeps import cell as cell_module
from sweeps.ablations import ABLATIONS
from sweeps.queue import leases, waiting
from sweeps.schema import cells

TABLE = ABLATIONS["lambda_hard"]

CELLS = cells(TABLE, override(profile("tiny"), "evaluate.prompts=2"), (0, 1))

STAGES = replace(
    fake.STAGES,
    train=lambda run: None,
    judge=lambda run: [{"prompt": "p0", "caption": "a ball", "scores": {"SA": 0.5, "PC": 0.25}}],
)


def drain(root, sweep="s", **stages):
    """Works on all that waits of a planned sweep, as a worker does; the cells, in order."""
    left, done = waiting.planned(root, sweep), []
    while claim := waiting.claim(root, left):
        run = Run(cell_module.read_config(claim.run), root, claim.run)
        cell_module.run_cell(run, replace(STAGES, **stages))
        leases.drop(*claim)
        done.append(claim.run.name)
    return done
