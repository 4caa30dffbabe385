"""A cell on several ranks is one result."""

import json
import os
from dataclasses import asdict, replace
from types import SimpleNamespace

import fake
import pytest
from queued import CELLS, STAGES

from direct.common import preempt
from direct.identity import identity
from direct.profiles import profile
from direct.settings import override
from sweeps.cell import begin, read_result, write_config
from sweeps.queue import leases, rank
from sweeps.queue import workers as workers_module
from sweeps.queue.worker import attempt

SHARING = """
import json, os, sys, time
from pathlib import Path
from direct.evaluate import clips, judge
from sweeps.queue import rank

cache, me, told = Path(sys.argv[1]), os.environ["RANK"], {"rendered": 0, "decoded": 0}
real_sample, real_decode = clips.sample, judge.codec.decode_latents

def sample(*arguments):
    told["rendered"] += 1
    (cache / f"{me}.begun").touch()
    while len(list(cache.glob("*.begun"))) < 2:  # so that neither takes both
        time.sleep(0.05)
    return real_sample(*arguments)

def decode(*arguments):
    told["decoded"] += 1
    return real_decode(*arguments)

clips.sample, judge.codec.decode_latents = sample, decode
rank.program()
(cache / f"rank-{me}.json").write_text(json.dumps(told))
"""


@pytest.mark.slow
def test_a_cell_on_two_ranks_is_one_result(cell, tmp_path):
    folder, token = cell
    assert workers_module.on_several(2, fake.STAGES.rank, tmp_path, folder, token) is False
    assert read_result(folder)["status"] == "done"
    assert (tmp_path / "executed.log").read_text() == f"{folder.name}\n"
    assert (tmp_path / "ranks.log").read_text() == f"{folder.name} 1 of 2\n"


@pytest.mark.slow
def test_two_ranks_share_a_cells_clips_and_its_result_is_that_of_one(tmp_path, surroundings):
    """The tiny profile's base: 24 prompts are two batches, of which each rank renders one."""
    config = override(profile("tiny"), "train.steps=0", "evaluate.prompts=24", "sample.steps=2")
    folders = [tmp_path / runs / identity(config) for runs in ("one", "two")]
    for folder in folders:
        write_config(folder, asdict(config))
        begin(folder)
    one, two = folders
    attempt(tmp_path / "cache", one, leases.take(one))
    program = tmp_path / "rank.py"
    program.write_text(SHARING)
    assert (
        workers_module.on_several(2, [str(program)], tmp_path / "cache", two, leases.take(two))
        is False
    )
    for name in ("result.json", "samples.safetensors", "records.jsonl"):
        assert (two / name).read_bytes() == (one / name).read_bytes(), name
    told = [json.loads((tmp_path / "cache" / f"rank-{rank}.json").read_text()) for rank in (0, 1)]
    assert [rank["rendered"] for rank in told] == [1, 1], "batches of 16, which are claimed"
    assert [rank["decoded"] for rank in told] == [2, 1], "batches of 8, in turn"


def rank_of(number, monkeypatch):
    """As torchrun starts it, but in this process: it takes no signals and follows nobody."""
    monkeypatch.setenv("RANK", str(number))
    monkeypatch.setattr(preempt, "listen", lambda *signals: None)
    monkeypatch.setattr(rank, "follow", lambda process: None)
    monkeypatch.setattr(rank, "PATIENCE_SECONDS", 0.0)


def test_every_rank_does_each_stage_and_the_first_publishes(tmp_path, monkeypatch):
    done = []
    stages = replace(
        STAGES,
        train=lambda run: done.append("train"),
        generate=lambda run: done.append("generate"),
        judge=lambda run: done.append("judge") or STAGES.judge(run),
    )
    folder = tmp_path / CELLS[0].id
    write_config(folder, asdict(CELLS[0].config))
    token = leases.take(folder)
    rank_of(1, monkeypatch)
    rank.main(tmp_path, folder, token, os.getpid(), stages)
    assert done == ["train", "generate", "judge"] and read_result(folder) is None
    rank_of(0, monkeypatch)
    rank.main(tmp_path, folder, token, os.getpid(), stages)
    assert done == ["train", "generate", "judge"] * 2
    assert read_result(folder)["status"] == "done"


def test_another_ranks_error_ends_it_and_a_stop_does_not(tmp_path, monkeypatch):
    folder = tmp_path / CELLS[0].id
    write_config(folder, asdict(CELLS[0].config))
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

    def sleep(seconds):
        clock[0] += seconds
        if clock[0] > 3:
            (tmp_path / name).touch()

    # Of this module alone: threads that other tests have left may sleep as well.
    own = SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep)
    monkeypatch.setattr(rank, "time", own)
    rank._wait_for_the_first(tmp_path)
    assert 3 < clock[0] < 4
    (tmp_path / name).unlink()
    own.sleep = lambda seconds: clock.__setitem__(0, clock[0] + seconds)
    before = clock[0]
    rank._wait_for_the_first(tmp_path)
    assert clock[0] - before >= rank.PATIENCE_SECONDS, "a first rank that is gone says nothing"
