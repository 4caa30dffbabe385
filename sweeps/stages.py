"""What a cell is made of: the stages' work, as one argument.

`REAL` is the work itself. Tests of the machinery, which must not train anything, give their own.
Nothing heavy is imported before a stage is called.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from direct.common import device, fingerprint
from direct.common.files import write_json
from direct.config import Config, Run

Record = dict[str, Any]  # {"prompt": id, "caption": str, "scores": {metric: value}}
SCORES = (  # whose imports are the code that makes a score
    "direct.evaluate.clips",
    "direct.evaluate.judge",
    "direct.prepare.facts",
    "direct.train.loop",
)


@dataclass(frozen=True)
class Stages:
    """Every stage resumes from what its run's folder holds, so it can be killed anywhere."""

    prepare: Callable[[Sequence[Run]], None]  # what cells share
    train: Callable[[Run], None]  # every rank calls it, and the next two
    generate: Callable[[Run], None]
    judge: Callable[[Run], list[Record]]  # what rank 0 returns are the cell's records
    measure: Callable[[Run], list[Record]]  # in place of these three: Tables S4 and S6, the gain
    inputs: Callable[[Config], dict[str, str]]  # hashes of the base model, and of the clips
    code: Callable[[Config], dict[str, str]]  # fingerprints of what can change the numbers
    device: Callable[[], str]  # processor or GPU, in words
    gpus: Callable[[], int]  # how many this process may use
    ahead: Callable[[Sequence[Run]], dict[str, int]]  # how much `prepare` will make, by its stages
    worker: tuple[str, ...] = (sys.executable, "-m", "sweeps.queue.worker")
    rank: tuple[str, ...] = ("-m", "sweeps.queue.rank")


def _prepare(runs: Sequence[Run]) -> None:
    from direct.prepare.shared import build

    build(runs)


def _ahead(runs: Sequence[Run]) -> dict[str, int]:
    from direct.prepare.ahead import ahead

    return ahead(runs)


def _train(run: Run) -> None:
    import torch

    from direct.common import ranks
    from direct.prepare import facts
    from direct.train.loop import train

    if "WORLD_SIZE" in os.environ:  # torchrun's: without training, too, all ranks generate
        ranks.start()
    torch.set_num_threads(run.config.threads)  # sums depend on it: part of the cell
    train(run)
    if ranks.rank() == 0 and (found := (facts.facts(run) or {}) | facts.rendering(run)):
        write_json(run.folder / "negatives.json", found)


def _generate(run: Run) -> None:
    from direct.evaluate import peers
    from direct.evaluate.clips import generate

    if run.config.model.peer:
        peers.videos(run)
    else:
        generate(run)


def _judge(run: Run) -> list[Record]:
    from direct.evaluate.judge import judge

    return judge(run)


def _measure(run: Run) -> list[Record]:
    import torch

    from direct.measure import alignment, cost, gain

    torch.set_num_threads(run.config.threads)
    measures = {"alignment": alignment.measure, "cost": cost.measure, "gain": gain.records}
    return measures[run.config.measure.kind](run)


def _inputs(config: Config) -> dict[str, str]:
    from direct.data import source
    from direct.models import pipeline

    return {"weights": pipeline.identity(config.model), "data": source.identity(config)}


def _code(config: Config) -> dict[str, str]:
    kind = config.measure.kind
    found = fingerprint.fingerprint(*(SCORES if kind == "scores" else (f"direct.measure.{kind}",)))
    world = config.data.source == "world"
    return {name: own for name, own in found.items() if world or "direct.world" not in name}


def _gpus() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


REAL = Stages(
    _prepare, _train, _generate, _judge, _measure, _inputs, _code, device.name, _gpus, _ahead
)
