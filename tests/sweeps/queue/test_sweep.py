"""A sweep as the queue sees it."""

from dataclasses import FrozenInstanceError

import pytest
from queued import CELLS, TABLE

from sweeps.queue.sweep import EACH, Sweep, Workers
from sweeps.stages import REAL


def test_workers_are_counted_in_words():
    assert [str(Workers(count)) for count in (1, 2, 12)] == ["1 worker", "2 workers", "12 workers"]
    assert str(Workers(EACH)) == "a worker each, without GPUs"
    assert str(Workers(EACH, gpus=8)) == "a worker each, of 8 GPUs"


def test_nothing_is_asked_for_by_default_and_nothing_changes_later(tmp_path):
    workers = Workers(2)
    assert not (workers.retry_failed or workers.join or workers.accept_old or workers.rerun)
    assert workers.storage is None and workers.gpus == 0
    sweep = Sweep(TABLE, CELLS, tmp_path, tmp_path, workers)
    assert sweep.stages is REAL
    with pytest.raises(FrozenInstanceError):
        sweep.root = tmp_path / "elsewhere"
