"""The time that is left while what cells share is made: held to a clock that is set by hand."""

import time

import pytest
from queued import CELLS

from direct.common import spent
from sweeps.queue import preparing
from sweeps.queue.display import Job
from sweeps.queue.estimate import Estimator
from sweeps.queue.preparing import SETUP_SECONDS, START_SECONDS, Preparation
from sweeps.queue.units import DEFAULTS

KNOWN = {"text": 0.01, "perturb": 0.02, "render": 1.0}


class Display:
    def __init__(self):
        self.boards = []
        self.show = self.boards.append


class Clock:
    """A machine that takes `seconds[stage]` for an item and two to begin a stage."""

    def __init__(self, monkeypatch, **seconds):
        self.now, self.seconds = 0.0, seconds
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def make(self, shown, stage, total, shard, setup=2.0):
        """Makes `total` items; the time left as it was said after each shard, and when."""
        self.now, said = self.now + setup, []
        for done in range(shard, total + shard, shard):
            done, before = min(done, total), done - shard
            self.now += self.seconds[stage] * (done - before)
            shown.progress(stage, done, total)
            said.append((self.now, shown.remaining))
        return said


def preparation(tmp_path, counts, workers=1, cells=CELLS[:4]):
    """`counts`: what is counted, one after the other."""
    counts = iter(counts)
    estimator = Estimator(tmp_path, {cell.id: cell.config for cell in CELLS[:4]})
    names = [cell.id for cell in cells]
    return Preparation(lambda: dict(next(counts)), KNOWN, names, estimator, workers, Display())


def test_later_stages_are_in_the_time_left_before_they_begin(monkeypatch, tmp_path):
    Clock(monkeypatch)
    shown = preparation(tmp_path, [{"text": 100, "perturb": 200, "render": 50}], workers=2)
    expected = 3 * SETUP_SECONDS + (100 * 0.01 + 200 * 0.02 + 50 * 1.0) / 2
    assert shown.remaining == pytest.approx(expected)
    shown.progress("text", 60, 80)  # 20 more are encoded when the negatives' prompts are known
    assert shown.remaining == pytest.approx(expected - SETUP_SECONDS - 60 * 0.01 / 2)
    shown.progress("text", 80, 80)
    shown.progress("text", 20, 20)
    assert shown.left["text"] == 0
    assert preparation(tmp_path, [{}]).remaining == 0


@pytest.mark.parametrize("speed", [0.4, 1.0, 3.0])
def test_the_time_left_is_right_once_a_stage_has_shown_its_speed(monkeypatch, tmp_path, speed):
    """As many hard negatives are rendered as are counted when their prompts are perturbed."""
    clock = Clock(monkeypatch, **{stage: speed * s for stage, s in KNOWN.items()})
    counted = {"text": 80, "perturb": 200, "render": 90}
    shown = preparation(tmp_path, [counted, {"render": 60}])
    clock.make(shown, "text", 20, 10)
    clock.make(shown, "perturb", 200, 100)
    (_, first), *_ = clock.make(shown, "text", 60, 60)
    assert first == pytest.approx(SETUP_SECONDS + 60 * 1.0), "counted again"
    said = clock.make(shown, "render", 60, 8)
    for when, left in said[1:]:
        assert left == pytest.approx(clock.now - when, abs=1e-6)
    assert shown.remaining == 0 and len(said) == 8


def test_rendering_shows_the_speed_that_clips_will_be_generated_with(monkeypatch, tmp_path):
    clock = Clock(monkeypatch, render=2.0)
    shown = preparation(tmp_path, [{"render": 60}], workers=2)
    before = shown.estimator.rates["generate"]
    clock.make(shown, "render", 60, 10)
    config = CELLS[0].config
    clip = 2 * 2.0 * config.sample.passes / config.hard_sample.passes
    assert before == DEFAULTS["tiny"][1]
    assert shown.estimator.rates["generate"] == pytest.approx(clip)


def test_the_board_has_the_stage_and_the_time_until_all_cells_are_done(monkeypatch, tmp_path):
    clock = Clock(monkeypatch, render=1.0)
    shown = preparation(tmp_path, [{"render": 60}], cells=CELLS[1:4])
    shown.show()
    clock.make(shown, "render", 60, 30, setup=0.0)
    first, *_, last = shown.display.boards
    assert first.jobs == (Job("all cells", "prepare", 0, 0),)
    assert last.jobs == (Job("all cells", "prepare render", 60, 60),)
    assert (last.done, last.total) == (1, 4), "one cell was there"
    cells = shown.estimator.remaining([cell.id for cell in CELLS[1:4]], 1)
    assert last.remaining == preparing.words(START_SECONDS + cells)


def test_what_the_cache_notes_counts_for_more_than_the_default(tmp_path):
    default = preparing.known(tmp_path, "tiny")
    assert default == preparing.ITEM_SECONDS["tiny"]
    spent.note(tmp_path / "hard" / "a", "render", 8, 4.0)  # no such folder: not noted
    assert preparing.known(tmp_path, "tiny") == default
    for folder, seconds in (("a", 4.0), ("b", 12.0)):
        (tmp_path / "hard" / folder).mkdir(parents=True)
        spent.note(tmp_path / "hard" / folder, "render", 8, seconds)
    (tmp_path / "hard" / "b" / spent.FILE).open("a").write('{"stage": 3}\nnot JSON\n')
    assert preparing.known(tmp_path, "tiny") == default | {"render": 1.0}
