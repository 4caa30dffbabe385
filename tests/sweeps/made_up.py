"""Made-up results of tables, as if read from disk, and the tables built from them."""

import numpy as np

from direct.profiles import profile
from direct.settings import override
from sweeps import tables
from sweeps.ablations import ABLATIONS
from sweeps.schema import cells

BASE = override(profile("tiny"), "evaluate.prompts=12")

S3 = ABLATIONS["lambda_hard"]

EVIL = '=cmd|"/C calc"!A0 \\input{x} $ & % # _ { } ~ ^ <script>alert(1)</script> \x1b[2J \u202e | `'


def results_of(table, seeds=(0, 1, 2), change=lambda cell, scores: scores):
    """Results as read from disk: a prompt effect, a gain with the swept weight, a little noise."""
    found = {}
    for i, cell in enumerate(cells(table, BASE, seeds)):
        rng = np.random.default_rng(i)
        shared = np.random.default_rng(99).random(12)
        gain = cell.config.loss.lambda_hard * bool(cell.config.train.steps)
        sa, pc = (0.5 * shared + gain + 0.02 * rng.random(12) for _ in range(2))
        scores = {
            "SA": sa,
            "PC": pc,
            "AVG": (sa + pc) / 2,
            "PCcap": pc,
            "Instr": 3 * sa,
            "Frame": np.ones(12),
            "Temp": pc,
            "Mass": sa,
            "Penetr": np.ones(12),
            "Total": 3 * sa + 2 + pc + sa,
        }
        scores = change(cell, scores)
        status = {"status": "done"} if scores else {"status": "diverged", "reason": "at step 3"}
        found[cell.id] = {
            "cell": cell.id,
            "config": {"seed": cell.config.seed},
            **status,
            "prompts": [f"p{k}" for k in range(12)] if scores else [],
            "scores": {name: values.tolist() for name, values in scores.items()},
            "provenance": {"commit": "abc123", "device": "a processor"},
        }
    return found


def build(table=S3, seeds=(0, 1, 2), **more):
    return tables.build(table, cells(table, BASE, seeds), results_of(table, seeds, **more))


def line(table, label):
    return next(x for x in table.lines if x.row.label == label)
