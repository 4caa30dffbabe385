"""A cell on several ranks is one result."""

import os
import time
from dataclasses import replace

import fake
import pytest
from queued import CELLS, STAGES

from direct.common import preempt
from sweeps.cell import read_result, write_config
from sweeps.queue import leases, rank
from sweeps.queue import workers as workers_module


@pytest.mark.slow
def test_a_cell_on_two_ranks_is_one_result(cell, tmp_path):
    folder, token = cell
    assert workers_module.on_several(2, fake.STAGES.rank, tmp_path, folder, token) is False
    assert read_result(folder)["status"] == "done"
    assert (tmp_path / "executed.log").read_text() == f"{folder.name}\n"
    assert (tmp_path / "ranks.log").read_text() == f"{folder.name} 1 of 2\n"


def rank_of(number, monkeypatch):
    """As torchrun starts it, but in this process: it takes no signals and follows nobody."""
    monkeypatch.setenv("RANK", str(number))
    monkeypatch.setattr(preempt, "listen", lambda *signals: None)
    monkeypatch.setattr(rank, "follow", lambda process: None)
    monkeypatch.setattr(rank, "PATIENCE_SECONDS", 0.0)


def test_the_first_rank_publishes_and_the_others_only_train(tmp_path, monkeypatch):
    trained = []
    stages = replace(STAGES, train=lambda run: trained.append(run.folder.name))
    folder = tmp_path / CELLS[0].id
    write_config(folder, CELLS[0].config)
    token = leases.take(folder)
    rank_of(1, monkeypatch)
    rank.main(tmp_path, folder, token, os.getpid(), stages)
    assert trained == [folder.name] and read_result(folder) is None
    rank_of(0, monkeypatch)
    rank.main(tmp_path, folder, token, os.getpid(), stages)
    assert trained == [folder.name] * 2 and read_result(folder)["status"] == "done"


def test_another_ranks_error_ends_it_and_a_stop_does_not(tmp_path, monkeypatch):
    folder = tmp_path / CELLS[0].id
    write_config(folder, CELLS[0].config)
    rank_of(1, monkeypatch)

    def fails(error):
        def train(run):
            raise error

        rank.main(tmp_path, folder, "token", os.getpid(), replace(STAGES, train=train))

    fails(preempt.Preempted("stopped"))
    with pytest.raises(ZeroDivisionError):
        fails(ZeroDivisionError())
    assert not (folder / "failure.json").exists(), "the first rank writes it down"


@pytest.mark.parametrize("name", ["result.json", "failure.json"])
def test_it_waits_for_the_first_ranks_word_and_no_longer(tmp_path, monkeypatch, name):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def sleep(seconds):
        clock[0] += seconds
        if clock[0] > 3:
            (tmp_path / name).touch()

    monkeypatch.setattr(time, "sleep", sleep)
    rank._wait_for_the_first(tmp_path)
    assert 3 < clock[0] < 4
    (tmp_path / name).unlink()
    monkeypatch.setattr(time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    before = clock[0]
    rank._wait_for_the_first(tmp_path)
    assert clock[0] - before >= rank.PATIENCE_SECONDS, "a first rank that is gone says nothing"
