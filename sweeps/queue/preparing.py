"""How far what cells share is, and how long it and all cells will take.

How much there is to make is counted before (`Stages.ahead`). What an item takes is known from this
run, from what the cache notes of earlier ones, or from a default.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from direct.common import spent

from .display import Board, Display, Job
from .estimate import Estimator, words
from .seldom import Seldom
from .units import HARD_NEGATIVE_SECONDS

# Seconds that a process takes for an item, where nothing is recorded: as tiny's defaults for cells.
# A stage that has none counts once it has reported twice.
ITEM_SECONDS = {
    "tiny": {"text": 0.001, "latents": 0.01, "perturb": 0.001, "render": 0.08},
    **{profile: {"render": seconds} for profile, seconds in HARD_NEGATIVE_SECONDS.items()},
}
SETUP_SECONDS = 2.0  # of a stage: its model is loaded, and processes start
START_SECONDS = 6.0  # of the workers: they import torch and diffusers


class Preparation:
    """Takes in the progress of `Stages.prepare` and shows the time that is left."""

    def __init__(
        self,
        count: Callable[[], dict[str, int]],
        known: dict[str, float],
        cells: Sequence[str],
        estimator: Estimator,
        workers: int,
        display: Display,
    ):
        self.count, self.left, self.known = count, count(), known
        self.cells, self.estimator = cells, estimator  # those that are open
        self.workers, self.display = workers, display
        self.stage, self.done, self.total = "", 0, 0
        self.heard = time.monotonic()
        self.shown: dict[str, tuple[float, int]] = {}  # seconds and items between two reports
        self.begun: set[str] = set()
        self.seldom = Seldom(0.0)

    def progress(self, stage: str, done: int, total: int) -> None:
        """A stage has made `done` of the `total` items that it lacked."""
        now, same = time.monotonic(), (stage, total) == (self.stage, self.total)
        made = done - self.done if same else done
        if self.stage == "perturb" and stage != "perturb":
            self.left = self.count()  # the prompts of hard negatives are known now
        else:
            self.left[stage] = max(self.left.get(stage, 0) - made, total - done)
        if same and made > 0:
            self._add(stage, now - self.heard, made)
        self.stage, self.done, self.total, self.heard = stage, done, total, now
        self.begun.add(stage)
        if self.seldom.due:
            with self.seldom:
                self.show()

    def _add(self, stage: str, seconds: float, items: int) -> None:
        before = self.shown.get(stage, (0.0, 0))
        self.shown[stage] = before[0] + seconds, before[1] + items
        if stage == "render":  # clips of the same model
            self.estimator.rendered(seconds * self.workers, items)

    def rate(self, stage: str) -> float:
        """Seconds from one item to the next."""
        seconds, items = self.shown.get(stage, (0.0, 0))
        return seconds / items if items else self.known.get(stage, 0.0) / self.workers

    @property
    def remaining(self) -> float:
        """Expected seconds until what cells share is there."""
        ahead = {stage: items for stage, items in self.left.items() if items}
        setup = SETUP_SECONDS * len(ahead.keys() - self.begun)
        return setup + sum(items * self.rate(stage) for stage, items in ahead.items())

    def show(self) -> None:
        """Shows the stage, and the time until all cells are done."""
        cells = self.estimator.remaining(self.cells, self.workers)
        seconds, total = self.remaining + START_SECONDS + cells, len(self.estimator.cells)
        stage = f"prepare {self.stage}".rstrip()
        job = Job("all cells", stage, self.done, self.total)
        self.display.show(Board(total - len(self.cells), total, words(seconds), (job,)))


def known(cache: Path, profile: str) -> dict[str, float]:
    """Seconds an item by stage: as the stores in `cache` note them, or by default."""
    lines: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for path in cache.glob(f"*/*/{spent.FILE}"):
        for line in spent.read(path):
            if line["items"] and isinstance(line.get("stage"), str):
                lines[line["stage"]].append(line)
    noted = {
        stage: sum(x["seconds"] * x["processes"] for x in own) / sum(x["items"] for x in own)
        for stage, own in lines.items()
    }
    return ITEM_SECONDS.get(profile, {}) | noted
