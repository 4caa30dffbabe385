"""What a cell costs: from the recorded timings of finished cells, else from a stated default."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from direct.config import Config

from ..cell import STAGES, read_timing

# Seconds per training step, per generated clip and per judged clip, where nothing is recorded yet.
# tiny: one core of a laptop. wan2.1: as in Table S4 and App. D, on GPUs; its judging is a guess.
DEFAULTS = {"tiny": (0.13, 0.08, 0.05), "wan2.1-t2v-1.3b": (4.95, 85.0, 5.0)}
HARD_NEGATIVE_SECONDS = {"wan2.1-t2v-1.3b": 85.0}  # App. D; "13 GPU-hours" (App. E) cannot be


def default_rates(profile: str) -> tuple[float, float, float]:
    """Seconds of each stage's unit; a profile without figures of its own has the paper's."""
    return DEFAULTS.get(profile, DEFAULTS["wan2.1-t2v-1.3b"])


class Estimator:
    """Seconds per cell, and what is left of a sweep while it runs."""

    def __init__(self, root: Path, cells: dict[str, Config]):
        self.root, self.cells = root, cells
        self.done: dict[str, float] = {}  # running cell -> expected seconds of its finished part
        self.first: dict[str, float] = {}  # the part it had when first heard of (resumed)
        self.since: dict[str, float] = {}
        self.spent = self.expected = 0.0  # worker seconds, and what the model said of the same work
        self.stages: dict[str, tuple[str, int, int]] = {}  # running cell -> stage, done, of total
        self.ended: set[str] = set()
        self.rates, self.recorded = self._rates()

    def _rates(self) -> tuple[dict[str, float], bool]:
        """Median seconds per unit of each stage over the finished cells, or the defaults."""
        seen: dict[str, list[float]] = {stage: [] for stage in STAGES}
        for name, config in self.cells.items():
            run = self.root / name
            timing = read_timing(run / "timing.json")
            if (run / "result.json").exists():
                for stage, units in _units(config).items():
                    if units and stage in timing:
                        seen[stage].append(timing[stage] / units)
        profile = next(iter(self.cells.values())).profile
        defaults = dict(zip(STAGES, default_rates(profile), strict=True))
        known = {stage: median(values) for stage, values in seen.items() if values}
        return defaults | known, bool(known)

    def seconds(self, config: Config) -> float:
        """Expected seconds of one cell on one worker."""
        return sum(units * self.rates[stage] for stage, units in _units(config).items())

    def progress(self, cell: str, stage: str, done: int, total: int) -> None:
        """A running cell's stage is at `done` of `total`."""
        self.stages[cell] = stage, done, total
        if stage not in STAGES or not total:  # a stage's own preparations
            return
        units = _units(self.cells[cell])
        before = STAGES[: STAGES.index(stage)]
        part = sum(units[s] * self.rates[s] for s in before)
        self.done[cell] = part + units[stage] * self.rates[stage] * done / total
        self.first.setdefault(cell, self.done[cell])
        self.since.setdefault(cell, time.monotonic())

    def finished(self, cell: str) -> None:
        self.ended.add(cell)
        if cell in self.since:
            self.spent += time.monotonic() - self.since.pop(cell)
            self.expected += self.seconds(self.cells[cell]) - self.first[cell]
        self.done.pop(cell, None)
        self.stages.pop(cell, None)

    def remaining(self, open_cells: Sequence[str], workers: int) -> float:
        """Expected wall seconds until these cells are done, corrected by the speed of this run."""
        now = time.monotonic()
        left = [
            self.seconds(self.cells[name]) - self.done.get(name, 0.0)
            for name in open_cells
            if name not in self.ended
        ]
        if not left:
            return 0.0
        spent = self.spent + sum(now - start for start in self.since.values())
        expected = self.expected + sum(self.done[c] - self.first[c] for c in self.since)
        speed = spent / expected if spent > 5 and expected > 0 else 1.0
        # No better than an even split, no better than the longest cell.
        return speed * max(sum(left) / min(workers, len(left)), max(left))


def _units(config: Config) -> dict[str, int]:
    """How much each stage has to do: steps, clips, clips. A measured step is several."""
    if config.measure.kind == "gain":  # two trainings, which other cells have mostly made
        return {"train": config.train.steps, "generate": 0, "judge": 0}
    if config.measure.kind != "scores":
        steps = 4 * config.measure.steps  # a backward pass for every gradient
        if config.measure.kind == "cost":
            steps = 3 * config.measure.iterations
        return {"train": steps, "generate": 0, "judge": 0}
    prompts = config.evaluate.prompts
    return {"train": config.train.steps, "generate": prompts, "judge": prompts}


def words(seconds: float) -> str:
    """`3.2 s`, `4 min 10 s`, `2 h 5 min`."""
    if round(seconds, 1) < 10:
        return f"{seconds:.1f} s"
    seconds = round(seconds)  # before it is split: no 47 min 60 s
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600:,.0f} h {seconds % 3600 // 60:.0f} min"
