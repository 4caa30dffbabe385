"""Seconds per cell, and what is left of a sweep while it runs."""

import heapq
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

import pytest

from direct.common.files import write_json
from direct.identity import identity
from direct.profiles import profile
from direct.settings import override
from sweeps.ablations import ABLATIONS
from sweeps.cell import write_config
from sweeps.queue.estimate import Estimator, words
from sweeps.queue.units import DEFAULTS, default_rates, trainings
from sweeps.schema import cells


def test_time_left_follows_the_speed_of_this_run(monkeypatch, tmp_path):
    """Twice as slow as the model says: twice the model's time is left."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    planned = cells(ABLATIONS["lambda_hard"], override(profile("tiny"), "train.steps=100"), (0,))
    estimator = Estimator(tmp_path, {cell.id: cell.config for cell in planned})
    cost = estimator.seconds(planned[0].config)
    assert estimator.remaining([planned[0].id], 1) == pytest.approx(cost)
    estimator.progress(planned[0].id, "train", 0, 100)
    step = estimator.rates["train"]
    clock[0] = 2 * 50 * step
    estimator.progress(planned[0].id, "train", 50, 100)
    left = estimator.remaining([planned[0].id], 1)
    assert left == pytest.approx(2 * (cost - 50 * step))
    estimator.finished(planned[0].id)
    assert estimator.remaining([planned[0].id], 1) == 0


def test_durations_are_words_that_round_once():
    assert [words(x) for x in (3.21, 59, 250, 7500)] == ["3.2 s", "59 s", "4 min 10 s", "2 h 5 min"]
    assert [words(x) for x in (9.97, 59.7, 2879.6, 3599.8)] == [
        "10 s",
        "1 min 0 s",
        "48 min 0 s",
        "1 h 0 min",
    ]


def configs():
    table = ABLATIONS["lambda_hard"]
    base = override(profile("tiny"), "train.steps=100", "evaluate.prompts=10")
    return {cell.id: cell.config for cell in cells(table, base, (0,))}


def test_without_timings_the_stated_defaults_count(tmp_path):
    planned = configs()
    estimator = Estimator(tmp_path, planned)
    assert not estimator.recorded
    per_step, per_clip, per_judgement = DEFAULTS["tiny"]
    expected = 100 * per_step + 10 * per_clip + 10 * per_judgement
    assert estimator.seconds(next(iter(planned.values()))) == pytest.approx(expected)
    assert default_rates("a profile without figures") == DEFAULTS["wan2.1-t2v-1.3b"]


def test_recorded_rates_are_medians_over_finished_cells(tmp_path):
    planned = configs()
    for name, seconds in zip(planned, (100.0, 300.0, 200.0, 9000.0), strict=True):
        write_json(tmp_path / name / "timing.json", {"train": seconds})
        if seconds < 9000:  # the last has not finished: it counts for nothing
            write_json(tmp_path / name / "result.json", {})
    estimator = Estimator(tmp_path, planned)
    assert estimator.recorded and estimator.rates["train"] == 2.0
    assert estimator.rates["judge"] == DEFAULTS["tiny"][2], "not recorded: the default"


def test_workers_divide_the_rest_but_not_a_cell(tmp_path):
    planned = configs()
    estimator = Estimator(tmp_path, planned)
    one = estimator.seconds(next(iter(planned.values())))
    names = list(planned)
    assert estimator.remaining(names, 1) == pytest.approx(4 * one)
    assert estimator.remaining(names, 2) == pytest.approx(2 * one)
    assert estimator.remaining(names, 3) == pytest.approx(2 * one), "one of them takes the fourth"
    assert estimator.remaining(names, 99) == pytest.approx(one), "no shorter than a cell"
    assert estimator.remaining([], 2) == 0


def test_a_stages_own_preparations_are_shown_and_not_counted(tmp_path):
    planned = configs()
    name = next(iter(planned))
    estimator = Estimator(tmp_path, planned)
    before = estimator.remaining([name], 1)
    estimator.progress(name, "loading", 3, 4)
    estimator.progress(name, "train", 0, 0)
    assert estimator.stages == {name: ("train", 0, 0)} and estimator.remaining([name], 1) == before


def test_what_a_cell_makes_for_all_is_left_besides_its_own_work(monkeypatch, tmp_path):
    """As on a cluster, where no planner has made it before."""
    clock, planned = [0.0], configs()
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    name = next(iter(planned))
    estimator = Estimator(tmp_path, planned)
    own = estimator.remaining([name], 1)
    estimator.started(name)
    for now, done in ((10, 8), (30, 18), (50, 38)):
        clock[0] = now
        estimator.progress(name, "render", done, 98)
    assert estimator.remaining([name], 1) == pytest.approx(60 * 1.0 + own), "a clip a second"
    clock[0] = 110
    estimator.progress(name, "render", 98, 98)
    estimator.progress(name, "partition", 1, 1)
    assert estimator.remaining([name], 1) == pytest.approx(own)
    clock[0] = 115
    estimator.progress(name, "train", 1, 100)
    assert estimator.paces["train"].first_seconds == 5, "all that it took to set up"


# A whole sweep, on a clock that is set by hand ----------------------------------------------------


@dataclass
class Machine:
    """Stand-in workers: what a stage's unit takes there, and how long a stage is set up."""

    step: float
    clip: float
    judgement: float
    setup: float
    birth: float = 0.0  # what a worker imports before its first cell
    now: float = 0.0
    ends: list[float] = field(default_factory=list)  # of cells
    made: dict[str, int] = field(default_factory=dict)  # a training's steps so far
    wanted: dict[str, set[int]] = field(default_factory=dict)  # steps at which others branch off

    def work(self, estimator: Estimator, cell: str, start: float) -> Iterator[tuple[float, tuple]]:
        """(when, arguments of `progress`) of one cell; training goes on from what is there."""
        config, now = estimator.cells[cell], start
        for name, steps in trainings(config):
            now += self.setup
            have = max(
                (s for s in self.wanted[name] if s <= min(steps, self.made[name])), default=0
            )
            for done in range(have + 1, steps + 1):
                now += self.step
                yield now, ("train", done, steps)
                self.made[name] = max(self.made[name], done)
        count = config.evaluate.prompts
        now += self.setup
        for done in [*range(16, count, 16), count]:
            passes = config.sample.steps * (2 if config.sample.guidance > 1 else 1) / 24
            now += self.clip * passes * (done - (done - 1) // 16 * 16)
            yield now, ("generate", done, count)
        now += self.setup
        for done in range(1, count + 1):
            now += self.judgement
            yield now, ("judge", done, count)

    def run(self, monkeypatch, estimator: Estimator, workers: int) -> list[tuple[float, float]]:
        """Runs all cells; (when, what is said to be left) at the start and at each cell's end."""
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        for config in estimator.cells.values():
            for name, steps in trainings(config):
                self.wanted.setdefault(name, set()).add(steps)
                self.made.setdefault(name, 0)
        queue, events, said = list(estimator.cells), [], []

        def take(first: bool = False) -> None:
            if queue:
                cell = queue.pop(0)
                estimator.started(cell, first)
                work = self.work(estimator, cell, self.now + self.birth * first)
                heapq.heappush(events, (*next(work), cell, work))

        said.append((0.0, estimator.remaining(queue, workers)))
        for _ in range(workers):
            take(first=True)
        while events:
            self.now, what, cell, work = heapq.heappop(events)
            estimator.progress(cell, *what)
            if (following := next(work, None)) is not None:
                heapq.heappush(events, (*following, cell, work))
                continue
            estimator.finished(cell)
            take()
            running = [name for _, _, name, _ in events]
            said.append((self.now, estimator.remaining([*running, *queue], workers)))
        return said


MACHINES = {
    "as the defaults say": (0.13, 0.08, 0.05, 0.0),
    "three times as slow": (0.39, 0.24, 0.15, 5.0),
    "slow to judge": (0.05, 0.05, 0.8, 1.0),
    "fast, and slow to set up": (0.02, 0.01, 0.01, 6.0),
    "slow to import": (0.13, 0.08, 0.05, 0.5, 30.0),
}


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("sweep", ["lambda_hard", "sampling", "dynamics", "guidance", "sota"])
@pytest.mark.parametrize("machine", MACHINES)
def test_after_the_first_cell_the_time_left_is_right_within_half(
    monkeypatch, tmp_path, machine, sweep, workers
):
    """Base models that train nothing, trainings that cells share, points along one training."""
    base = override(profile("tiny"), "train.steps=60", "evaluate.prompts=48")
    seeds = (0,) if sweep == "guidance" else (0, 1)
    planned = {cell.id: cell.config for cell in cells(ABLATIONS[sweep], base, seeds)}
    model = Machine(*MACHINES[machine])
    said = model.run(monkeypatch, Estimator(tmp_path, planned), workers)
    (first, left), truth = said[1], model.now - said[1][0]
    assert truth / 1.5 <= left <= truth * 1.5, (first, left, truth)
    half = next(x for x in said if x[0] >= model.now / 2)
    assert half[1] == pytest.approx(model.now - half[0], rel=0.3, abs=0.05 * model.now)
    assert said[-1][1] == 0


def test_what_finished_cells_have_left_is_not_trained_again(tmp_path):
    """A longer training of an earlier sweep has left its last step alone; a shorter one is used."""
    base = override(profile("tiny"), "evaluate.prompts=10")
    by_steps = {n: override(base, f"train.steps={n}") for n in (50, 100, 150)}
    ids = {n: identity(config) for n, config in by_steps.items()}
    for n in (50, 150):
        write_config(tmp_path / ids[n], asdict(by_steps[n]))
        write_json(tmp_path / ids[n] / "result.json", {})
    own = override(by_steps[100], "sample.guidance=1")
    estimator = Estimator(tmp_path, {identity(own): own})
    step, clip, judgement = DEFAULTS["tiny"]
    expected = 50 * step + 10 * (clip / 2 + judgement)  # without guidance, half the passes
    assert estimator.remaining([identity(own)], 1) == pytest.approx(expected)
    assert estimator.seconds(own) == pytest.approx(expected + 50 * step)


def test_recorded_steps_are_those_that_were_taken(tmp_path):
    """Of a cell that resumed a shared training, a rate by its whole length would be too low."""
    planned = configs()
    name = next(iter(planned))
    write_json(tmp_path / name / "timing.json", {"train": 20.0})
    (tmp_path / name / "timing.jsonl").write_text('{"seconds":19.0,"steps":10}\n')
    write_json(tmp_path / name / "result.json", {})
    assert Estimator(tmp_path, planned).rates["train"] == 2.0
