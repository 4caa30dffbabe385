"""A cluster of Ray: nodes and workers that are killed in the middle, and an interrupt."""

import _thread
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import fake
import pytest
from programs import FAKE, ROOT, executed
from queued import drain

from direct.common.errors import UserError
from direct.profiles import profile
from direct.settings import override
from sweeps import run
from sweeps.ablations import ABLATIONS
from sweeps.cell import read_json
from sweeps.queue import on_ray, waiting
from sweeps.queue.sweep import Ended
from sweeps.schema import cells

CELLS = cells(ABLATIONS["lambda_hard"], override(profile("tiny"), "evaluate.prompts=4"), (0,))
PLAN = ["lambda_hard", "--prompts", "4", "--seeds", "0", "--launcher", "ray"]


CLUSTER = """
import sys
from ray.cluster_utils import Cluster

small = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 << 20}

def started():
    cluster = Cluster(initialize_head=True, head_node_args=small)
    for _ in range(2):
        cluster.add_node(wait=False, **small)
    cluster.wait_for_nodes(timeout=300)
    return cluster

for attempt in range(4):
    try:
        cluster = started()
        break
    except Exception:  # a busy machine: Ray gives an agent of its own 15 s to start
        if attempt == 3:
            raise
nodes = {node.all_processes["raylet"][0].process.pid: node for node in cluster.worker_nodes}
print("cluster", cluster.address, *nodes, flush=True)
for line in sys.stdin:
    cluster.remove_node(nodes[int(line)], allow_graceful=False)
cluster.shutdown()
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Three nodes on this machine, each with one processor, and the gate that cells wait at.

    In a process of its own, since Ray reads its variables when it is first imported. It removes the
    nodes whose numbers it is told.
    """
    gate = tmp_path_factory.mktemp("ray") / "gate"
    if find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": uuid.uuid4().hex,  # else Ray writes one into the home
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "RAY_worker_register_timeout_seconds": "300",
            "FAKE_GATE": str(gate),
        }.items():
            patch.setenv(name, value)
        running = subprocess.Popen(
            [sys.executable, "-c", CLUSTER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=_in_the_background,
        )
        try:
            told = running.stdout.readline().split()
            assert told[:1] == ["cluster"], told
            patch.setenv("RAY_ADDRESS", told[1])
            yield running, {int(pid) for pid in told[2:]}, gate
        finally:
            running.stdin.close()
            running.wait(300)


def _in_the_background():
    """As a shell starts what ends in &."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def begin(out):
    """The sweep on the cluster, as a process of its own."""
    (out / "cache/tiny").mkdir(parents=True)
    return subprocess.Popen(
        [*FAKE, *PLAN[1:], "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def begun(running, out, count):
    """Waits until so many cells have begun; their names, in order."""
    while len(executed(out)) < count:
        assert running.poll() is None, running.communicate()[0]
        time.sleep(0.05)
    return executed(out)


def hears(running, told):
    """Reads what the sweep says until it says this."""
    said = []
    for line in running.stdout:
        said.append(line)
        if told in line:
            return
    raise AssertionError("".join(said))


def worker_of(out, cell):
    """Its process, with those above it; empty where nobody works on the cell."""
    pid, found = (read_json(out / "runs/tiny" / cell / "lease.json") or {}).get("pid", 1), []
    while pid > 1:
        found.append(pid)
        pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return found


@pytest.mark.slow
def test_a_node_that_is_killed_loses_no_cell_and_changes_none(cluster, tmp_path, monkeypatch):
    (program, nodes, gate), found = cluster, {}
    gate.write_text("0")
    running = begin(tmp_path)
    while not found:
        for name in begun(running, tmp_path, 2):
            found |= {pid: name for pid in worker_of(tmp_path, name) if pid in nodes}
    pid, lost = found.popitem()
    print(pid, file=program.stdin, flush=True)
    hears(running, f"{lost}: its worker ended with its node, another takes over")
    gate.write_text("1000")
    said = running.communicate(timeout=300)[0]
    assert running.returncode == 0, said
    planned = [cell.id for cell in CELLS]
    assert sorted(executed(tmp_path)) == sorted([*planned, lost]), "the lost one again"
    monkeypatch.delenv("FAKE_GATE")
    one = tmp_path / "one"
    waiting.plan(one, "s", CELLS)
    assert drain(one, train=fake.train, judge=fake.judge) == planned
    for name in planned:
        result = tmp_path / "runs/tiny" / name / "result.json"
        assert result.read_bytes() == (one / name / "result.json").read_bytes()
        assert not result.with_name("lease.json").exists()


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_an_interrupt_gives_cells_back(cluster, tmp_path):
    cluster[2].write_text("0")
    running = begin(tmp_path)
    killed = begun(running, tmp_path, 1)[0]
    os.kill(worker_of(tmp_path, killed)[0], signal.SIGKILL)
    hears(running, f"{killed}: its worker ended with status -9, another takes over")
    names = begun(running, tmp_path, 3)
    running.send_signal(signal.SIGINT)
    said = running.communicate(timeout=300)[0]
    assert running.returncode == 130, said
    root = tmp_path / "runs/tiny"
    assert waiting.waits(root / names[-1]), "it was at work"
    assert not any((root / cell.id / "lease.json").exists() for cell in CELLS)


def test_without_ray_one_sentence_says_what_to_install_before_anything_is_written(
    tmp_path, monkeypatch
):
    folder = ModuleSpec("ray", None)  # one of that name, which is no package
    for found, more in ((None, []), (None, ["--dry-run"]), (folder, [])):
        monkeypatch.setattr(on_ray, "find_spec", lambda name, found=found: found)
        with pytest.raises(UserError, match=r"install it with: pip install '.\[ray\]'"):
            run.main([*PLAN, *more, "--out", str(tmp_path)], fake.STAGES)
    assert not list(tmp_path.rglob("lease.json")) and not list(tmp_path.rglob("queue"))


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ray://10.0.0.1:10001", "is not host:port"),
        ("http://10.0.0.1:8265", "is not host:port"),
        ("head", "is not host:port"),
        ("head:70000", "is not host:port"),
        ("x" * 70 + ":6379", r"cannot be used \(.*\); start it"),
        ("127.0.0.1:1", r"127.0.0.1:1 cannot be used \(.*refused\); start it"),
    ],
)
def test_a_cluster_that_cannot_be_used_is_refused_at_once(address, said, monkeypatch):
    monkeypatch.setattr(on_ray, "find_spec", lambda name: ModuleSpec(name, None, origin="here"))
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UserError, match=said):
        on_ray.check()


def test_a_node_has_what_a_cell_needs_or_the_cells_wait():
    node = {"Alive": True, "Resources": {"CPU": 2.0, "GPU": 1.0}}
    assert on_ray._has(node, {"CPU": 2, "GPU": 1}) and on_ray._has(node, {"CPU": 1, "GPU": 0})
    assert not on_ray._has(node, {"CPU": 1, "GPU": 2})
    assert not on_ray._has(node | {"Alive": False}, {"CPU": 1, "GPU": 0})
    assert on_ray._has(node | {"Resources": {"CPU": 1.0}}, {"CPU": 1, "GPU": 0})


def task(tmp_path, code):
    command = [sys.executable, "-c", code]
    return on_ray.work(command, {"OWN": "7"}, str(tmp_path), str(tmp_path / "workers.log"))


def test_a_task_hands_on_what_its_worker_prints_and_its_status(tmp_path):
    code = (
        "import os, sys; print(os.environ['OWN'], os.getcwd()); "
        "sys.stderr.write('a fault'); sys.exit(3)"
    )
    assert list(task(tmp_path, code)) == [f"7 {tmp_path}", 3]
    assert (tmp_path / "workers.log").read_text() == "a fault"


def test_a_task_that_is_cancelled_waits_for_its_worker_to_save(tmp_path):
    code = (
        "import signal, time; from pathlib import Path\n"
        "def save(*_): time.sleep(0.3); Path('saved').touch(); raise SystemExit(0)\n"
        "signal.signal(signal.SIGTERM, save); print('at work', flush=True); time.sleep(600)"
    )
    lines = task(tmp_path, code)
    assert next(lines) == "at work"
    with pytest.raises(KeyboardInterrupt):
        lines.throw(KeyboardInterrupt)  # as Ray does
    assert (tmp_path / "saved").exists()


def test_a_task_is_cancelled_while_its_worker_says_nothing(tmp_path):
    """Ray sets a flag, which a read that waits would never see: a step may take minutes."""
    code = (
        "import signal, time; from pathlib import Path\n"
        "def save(*_): Path('saved').touch(); raise SystemExit(0)\n"
        "signal.signal(signal.SIGTERM, save); print('at work', flush=True); time.sleep(600)"
    )
    lines = task(tmp_path, code)
    assert next(lines) == "at work"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            threading.Timer(0.1, _thread.interrupt_main).start()  # as Ray does
            next(lines)
    finally:
        signal.signal(signal.SIGINT, before)
    lines.close()  # where the interrupt came before `next`
    assert (tmp_path / "saved").exists()


def test_lines_are_whole_whatever_pieces_they_come_in():
    reading, writing = os.pipe()
    lines = on_ray._lines(reading)
    os.write(writing, b"one\n\ntw")
    assert [next(lines), next(lines)] == ["one", ""]
    os.write(writing, "o λ".encode()[:-1])
    os.write(writing, "λ".encode()[1:] + b"\nthr\xff")
    os.close(writing)
    assert list(lines) == ["two λ", "thr\ufffd"]
    os.close(reading)


def test_how_a_task_ended_is_told_and_a_lost_node_is_told_apart():
    kinds = pytest.importorskip("ray").exceptions
    lost = on_ray._told(kinds, kinds.NodeDiedError("its node"))
    assert lost == Ended("with its node", lost=True)
    assert on_ray._told(kinds, kinds.TaskCancelledError()) == Ended("")
    raised = on_ray._told(kinds, kinds.OutOfMemoryError("of memory\nkilled by Ray"))
    assert raised == Ended("as Ray says: killed by Ray")
