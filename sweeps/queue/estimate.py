"""What a cell costs: from the recorded timings of finished cells, else from a stated default."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from heapq import heappop, heappush
from pathlib import Path
from statistics import median

from direct.common.errors import UserError
from direct.config import Config

from ..cell import STAGES, read_config, read_timing
from .units import SHARED, Left, clips_of, default_rates, passes_of, taken, trainings, units_of

SETTLED = 5.0  # seconds of this run, before its speed counts


@dataclass
class Pace:
    """What this run has shown of a stage."""

    seconds: float = 0.0  # between two reports of one cell's stage
    units: float = 0.0  # done in them
    first_seconds: float = 0.0  # until a stage's first report: setting up is in them
    first_units: float = 0.0
    cells: int = 0  # that have reported, but for those with which a worker began
    born_seconds: float = 0.0  # the same of these: the worker's own start is in them
    born_units: float = 0.0

    @property
    def shown(self) -> tuple[float, float]:
        """Seconds and units; with what it takes to set up, where a cell reports but once."""
        pairs = (
            (self.seconds, self.units),
            (self.first_seconds, self.first_units),
            (self.born_seconds, self.born_units),
        )
        return next((pair for pair in pairs if all(pair)), (0.0, 0.0))

    @property
    def rate(self) -> float | None:
        """Seconds a unit."""
        seconds, units = self.shown
        return seconds / units if units else None

    @property
    def setup(self) -> float | None:
        """Seconds of a cell's stage that are none of its units'."""
        if not self.cells or self.rate is None:
            return None
        return max(0.0, self.first_seconds - self.rate * self.first_units) / self.cells


class Estimator:
    """Seconds per cell, and what is left of a sweep while it runs."""

    def __init__(self, root: Path, cells: dict[str, Config]):
        self.root, self.cells = root, cells
        self.units = {cell: units_of(config) for cell, config in cells.items()}
        self.trainings = {cell: trainings(config) for cell, config in cells.items()}
        self.stages: dict[str, tuple[str, int, int]] = {}  # running cell -> stage, done, of total
        self.at: dict[str, tuple[str, int, int]] = {}  # the same, of `STAGES` alone
        self.heard: dict[str, float] = {}  # running cell -> when it last got further
        self.ahead: dict[str, float] = {}  # running cell -> seconds of what it makes for all
        self.second: set[str] = set()  # running cells in the second of two trainings
        self.born: set[str] = set()  # cells with which their worker began
        self.ended: set[str] = set()
        self.paces = {stage: Pace() for stage in STAGES}
        self.known, self.recorded = self._recorded()

    def _recorded(self) -> tuple[dict[str, float], bool]:
        """Median seconds per unit of each stage over the finished cells, or the defaults."""
        seen: dict[str, list[float]] = {stage: [] for stage in STAGES}
        for name in self.cells:
            run = self.root / name
            timing = read_timing(run / "timing.json")
            if (run / "result.json").exists():
                done = self.units[name] | taken(run)
                for stage, units in done.items():
                    if units and stage in timing:
                        seen[stage].append(timing[stage] / units)
        profile = next(iter(self.cells.values())).profile
        defaults = dict(zip(STAGES, default_rates(profile), strict=True))
        known = {stage: median(values) for stage, values in seen.items() if values}
        return defaults | known, bool(known)

    @cached_property
    def before(self) -> dict[str, list[Left]]:
        """The trainings that finished cells have left."""
        found: dict[str, list[Left]] = {}
        for path in self.root.glob("*/result.json"):
            with suppress(UserError):  # a damaged folder has nothing to resume from
                for name, steps in trainings(read_config(path.parent, load=False)):
                    ours = path.parent.name in self.cells
                    found.setdefault(name, []).append(Left(0.0, steps, ours))
        return found

    @property
    def rates(self) -> dict[str, float]:
        """Seconds a unit: of this run, or as recorded before and corrected by this run's speed.

        That of its model, where it has shown that: a judge's speed says little about training.
        """
        own = {stage: pace.rate for stage, pace in self.paces.items()}
        shown = [stage for stage, rate in own.items() if rate is not None]
        paces = [(s, self.paces[s]) for s in shown if s != "judge" or shown == ["judge"]]
        spent = sum(pace.shown[0] for _, pace in paces)
        as_known = sum(self.known[stage] * pace.shown[1] for stage, pace in paces)
        speed = spent / as_known if spent > SETTLED and as_known > 0 else 1.0
        return {
            stage: speed * self.known[stage] if rate is None else rate
            for stage, rate in own.items()
        }

    def seconds(self, config: Config) -> float:
        """Expected seconds of one cell on one worker that finds nothing of its training."""
        return self._seconds(units_of(config))

    def _seconds(self, units: Mapping[str, float]) -> float:
        rates = self.rates
        return sum(n * rates[s] + self._setup(s) for s, n in units.items() if n)

    def _setup(self, stage: str) -> float:
        """Seconds to set the stage up; as the others take, while workers have but begun with it."""
        own = self.paces[stage]
        if own.setup is not None or not own.born_units:
            return own.setup or 0.0
        others = [x.setup for x in self.paces.values() if x.setup is not None]
        return sum(others) / len(others) if others else 0.0

    def started(self, cell: str, first: bool = False) -> None:
        """A worker has taken the cell; `first`: its first, for which it imports all."""
        (self.born.add if first else self.born.discard)(cell)
        self.heard[cell] = time.monotonic()
        for known in (self.at, self.ahead, self.stages):
            known.pop(cell, None)
        self.second.discard(cell)

    def progress(self, cell: str, stage: str, done: int, total: int) -> None:
        """A running cell's stage is at `done` of `total`."""
        earlier, self.stages[cell] = self.stages.get(cell), (stage, done, total)
        if stage in SHARED and cell in self.heard:
            self._prepares(cell, earlier)
        if stage not in STAGES or not total:  # a stage's own preparations: its setting up
            return
        now = time.monotonic()
        if cell in self.heard:
            spent, pace, unit = (
                now - self.heard[cell],
                self.paces[stage],
                self._unit(cell, stage, total),
            )
            last, before, of = self.at.get(cell, ("", 0, 0))
            if (last, of) == (stage, total) and done >= before:
                pace.seconds += spent
                pace.units += unit * (done - before)
            else:
                self._first(cell, stage, spent, unit * (1 if stage == "train" else done))
        self.heard[cell], self.at[cell] = now, (stage, done, total)

    def _prepares(self, cell: str, earlier: tuple[str, int, int] | None) -> None:
        """A cell that finds nothing of what all share makes it: that is none of its own work."""
        (stage, done, total), now = self.stages[cell], time.monotonic()
        made = done - earlier[1] if earlier and earlier[::2] == (stage, total) else 0
        if made > 0:
            self.ahead[cell] = (total - done) * (now - self.heard[cell]) / made
        self.heard[cell] = now

    def _first(self, cell: str, stage: str, spent: float, units: float) -> None:
        """A stage's first report. Training reports every step: those before were there already."""
        pace, last = self.paces[stage], self.at.get(cell, ("", 0, 0))[0]
        found = self.trainings[cell][:-1]
        if stage == "train" and (last or (found and found[0][0] in self.before)):
            self.second.add(cell)
        if cell in self.born and not last:
            pace.born_seconds += spent
            pace.born_units += units
            return
        if pace.cells and not last and stage != "train" and self.units[cell]["train"]:
            return  # it found all of its training: to look for that is in these seconds as well
        pace.first_seconds += spent
        pace.first_units += units
        pace.cells += 1

    def _unit(self, cell: str, stage: str, total: int) -> float:
        """Units of one of the `total` that a stage counts itself; of a measurement, several."""
        config = self.cells[cell]
        if config.measure.kind != "scores":
            return self.units[cell]["train"] / total
        return clips_of(config) if stage == "generate" else 1.0

    def rendered(self, seconds: float, clips: int) -> None:
        """So many hard negatives took a process so long: they are clips of the same model."""
        config = next(iter(self.cells.values()))
        own, pace = passes_of(config.profile), self.paces["generate"]
        pace.seconds += seconds
        pace.units += clips * (config.hard_sample.passes / own if own else 1.0)

    def finished(self, cell: str) -> None:
        self.ended.add(cell)
        for name, steps in self.trainings[cell]:
            self.before.setdefault(name, []).append(Left(0.0, steps, True))
        self.second.discard(cell)
        for known in (self.heard, self.at, self.ahead, self.stages):
            known.pop(cell, None)

    def remaining(self, open_cells: Sequence[str], workers: int) -> float:
        """Expected wall seconds until these cells are done: the queue, worker by worker.

        A cell finds the steps that a finished one has left, or one that ends before it begins.
        """
        left = [name for name in open_cells if name not in self.ended]
        running = [name for name in left if name in self.heard]
        free = [0.0] * min(workers, len(left))  # when each worker is
        made = {name: list(known) for name, known in self.before.items()}
        for cell in [*running, *(name for name in left if name not in self.heard)]:
            start = heappop(free)
            own = self._left(cell) if cell in self.heard else self._found(cell, start, made)
            ends = start + own
            for name, steps in self.trainings[cell]:
                made.setdefault(name, []).append(Left(ends, steps, True))
            heappush(free, ends)
        return max(free, default=0.0)

    def _found(self, cell: str, start: float, made: dict[str, list[Left]]) -> float:
        """Expected seconds of a cell that begins at `start` and finds what was `made` by then."""
        units: dict[str, float] = dict(self.units[cell])
        for name, steps in self.trainings[cell]:
            there = (x.usable(start, steps) for x in made.get(name, ()))
            units["train"] -= max(there, default=0)
        if self.cells[cell].train.steps:
            units["train"] = max(units["train"], 1e-9)  # it is set up all the same
        return self._seconds(units)

    def _left(self, cell: str) -> float:
        """Expected seconds of a running cell."""
        if cell not in self.at:
            seconds = self.ahead.get(cell, 0.0) + self._found(cell, 0.0, self.before)
        else:
            stage, done, total = self.at[cell]
            later = STAGES[STAGES.index(stage) + 1 :]
            seconds = self._seconds({s: self.units[cell][s] for s in later})
            units = self._unit(cell, stage, total) * (total - done)
            if stage == "train" and len(self.trainings[cell]) > 1 and cell not in self.second:
                units += self.trainings[cell][1][1]  # after the SFT run that it starts from
            seconds += units * self.rates[stage]
        return max(0.0, seconds - (time.monotonic() - self.heard[cell]))


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
