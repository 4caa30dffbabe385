"""A small queue of cells, and stages that make a result in no time."""

from dataclasses import replace

import fake

from direct.config import Run
from direct.profiles import profile
from direct.settings import override
from sweeps import cell as cell_module
from sweeps.ablations import ABLATIONS
from sweeps.queue import leases
from sweeps.queue import study as queue
from sweeps.schema import cells

TABLE = ABLATIONS["lambda_hard"]

CELLS = cells(TABLE, override(profile("tiny"), "evaluate.prompts=2"), (0, 1))

STAGES = replace(
    fake.STAGES,
    train=lambda run: None,
    judge=lambda run: [{"prompt": "p0", "caption": "a ball", "scores": {"SA": 0.5, "PC": 0.25}}],
)


def states(study):
    found = {}
    for trial in study.get_trials(deepcopy=False):
        found.setdefault(trial.user_attrs["cell"], []).append(trial.state.name)
    return found


def drain(study, root, **stages):
    done = []
    while trial := queue.claim(study):
        run = root / trial.user_attrs["cell"]
        token = leases.take(run)
        own = replace(STAGES, **stages)
        result = cell_module.run_cell(Run(cell_module.read_config(run), root, run), own)
        queue.finish(study, trial, result)
        leases.drop(run, token)
        done.append(run.name)
    return done


def finish_all(study, root):
    while trial := queue.claim(study):
        run = root / trial.user_attrs["cell"]
        result = cell_module.run_cell(Run(cell_module.read_config(run), root, run), STAGES)
        queue.finish(study, trial, result)
