"""A signal stops training between two steps, on a checkpoint of its own; nothing is lost."""

import os
import signal
import subprocess
import sys

import pytest

from direct.common import preempt
from direct.config import Run
from direct.train.loop import train


@pytest.fixture
def listening():
    before = signal.getsignal(signal.SIGUSR1)
    preempt.listen(signal.SIGUSR1)
    yield
    signal.signal(signal.SIGUSR1, before)
    preempt._request.clear()


def files(run):
    paths = [*(run / "transformer").iterdir(), run / "metrics.jsonl"]
    return {path.name: path.read_bytes() for path in paths}


def signal_at(step):
    def progress(stage, done, total):
        if (stage, done) == ("train", step):
            os.kill(os.getpid(), signal.SIGUSR1)

    return progress


@pytest.mark.slow
def test_stopped_by_a_signal_it_goes_on_to_the_same_bytes(small, tmp_path, listening):
    config = small(train__checkpoint_every=100)  # no checkpoint but the signal's
    train(Run(config, tmp_path / "cache", tmp_path / "whole"))
    run = tmp_path / "run"
    with pytest.raises(preempt.Preempted, match="run again"):
        train(Run(config, tmp_path / "cache", run, progress=signal_at(2)))
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-00000003"]
    preempt._request.clear()
    train(Run(config, tmp_path / "cache", run))
    assert files(run) == files(tmp_path / "whole")


@pytest.mark.slow
def test_a_signal_in_the_last_step_loses_nothing(small, tmp_path, listening):
    config = small(train__steps=2, train__checkpoint_every=100)
    final = train(Run(config, tmp_path / "cache", tmp_path / "run", progress=signal_at(2)))
    assert final.is_dir()
    with pytest.raises(preempt.Preempted):  # the next stage stops at its first progress
        preempt.check()


def test_nothing_is_asked_for_until_a_signal_comes(listening):
    assert not preempt.requested()
    preempt.check()
    os.kill(os.getpid(), signal.SIGUSR1)
    assert preempt.requested()
    with pytest.raises(preempt.Preempted, match="run again to go on"):
        preempt.check()


TWICE = """
import os, signal, sys
from direct.common import preempt

preempt.listen(signal.SIGUSR1, signal.SIGTERM)
sys.settrace(lambda *_: os.kill(os.getpid(), signal.SIGTERM))  # at each call that is made from here
os.kill(os.getpid(), signal.SIGUSR1)
sys.settrace(None)
print(preempt.requested())
"""


def test_a_second_signal_while_the_first_is_noted_is_no_deadlock():
    done = subprocess.run(
        [sys.executable, "-c", TWICE], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout == "True\n"


def test_a_request_of_another_rank_stops_this_one_too():
    assert not preempt.requested()
    with pytest.raises(preempt.Preempted):
        preempt.check(elsewhere=True)
    assert not preempt.requested()
