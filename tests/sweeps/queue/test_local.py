"""Worker processes of this machine: what they say, how they end, and how they are stopped."""

import sys
import time
from dataclasses import replace

from queued import CELLS, STAGES, TABLE

from sweeps.queue import local
from sweeps.queue.sweep import Ended, Sweep, Workers


def processes(tmp_path, code, gpus=0):
    stages = replace(STAGES, worker=(sys.executable, "-c", code))
    return local.Processes(
        Sweep(TABLE, CELLS[:1], tmp_path, tmp_path / "cache", Workers(2, gpus), stages)
    )


def heard(own, count):
    found = []
    while len(found) < count:
        found += own.hear(30)
    return found


def test_lines_come_in_order_then_the_status_and_errors_go_into_the_log(tmp_path):
    code = (
        "import os, sys; print(os.environ['OMP_NUM_THREADS'], *sys.argv[1:]); print('two')\n"
        "sys.stderr.write('a fault'); sys.exit(3)"
    )
    own = processes(tmp_path, code)
    assert own.start() == 0
    first = f"{CELLS[0].config.threads} {tmp_path} {tmp_path / 'cache'} {TABLE.name}"
    assert heard(own, 3) == [(0, first), (0, "two"), (0, Ended("with status 3"))]
    assert (tmp_path / "workers.log").read_text() == "a fault"
    assert own.start() == 0, "its number, and with it its devices, are free again"
    heard(own, 3)


def test_each_worker_has_devices_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    own = processes(tmp_path, "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])", gpus=2)
    assert [own.start(), own.start()] == [0, 1]
    said = heard(own, 4)
    assert {x for x in said if not isinstance(x[1], Ended)} == {(0, "4,5"), (1, "6,7")}
    assert [x[1] for x in said if isinstance(x[1], Ended)] == [Ended(""), Ended("")]


def test_a_worker_that_is_killed_has_its_signal_for_a_status(tmp_path):
    own = processes(tmp_path, "import os; os.kill(os.getpid(), 9)")
    own.start()
    assert heard(own, 1) == [(0, Ended("with status -9"))]


def test_nobody_is_heard_within_the_time_that_is_given(tmp_path):
    start = time.monotonic()
    assert processes(tmp_path, "").hear(0.05) == []
    assert 0.05 <= time.monotonic() - start < 60


def test_who_is_stopped_saves_first(tmp_path):
    code = (
        "import signal, sys, time; from pathlib import Path\n"
        "def save(*_): Path(sys.argv[1], 'saved').touch(); raise SystemExit(0)\n"
        "signal.signal(signal.SIGTERM, save); print('at work', flush=True); time.sleep(600)"
    )
    own = processes(tmp_path, code)
    own.start()
    assert heard(own, 1) == [(0, "at work")]
    own.stop(300)
    assert (tmp_path / "saved").exists() and heard(own, 1) == [(0, Ended(""))]


class Stubborn:
    """A worker that does not end before it is killed."""

    def __init__(self):
        self.done, self.pressed = [], False

    def terminate(self):
        self.done.append("terminate")

    def kill(self):
        self.done.append("kill")

    def wait(self, seconds=None):
        if not self.pressed:
            self.pressed = True
            raise KeyboardInterrupt


def test_a_second_ctrl_c_kills_who_has_not_stopped(tmp_path):
    own, worker = processes(tmp_path, ""), Stubborn()
    own.processes[0] = worker
    own.stop(30)
    assert worker.done == ["terminate", "kill"]
