"""Two hosts of one sweep, and the link between them cut without a word and restored."""

import os
import signal
import subprocess
from collections import Counter
from contextlib import suppress

import fake
import hosts
import postgres
import pytest
from programs import FAKE, children, environment, executed, until

from direct.config import Run
from sweeps.cell import read_config, read_json, run_cell
from sweeps.queue import storage

pytestmark = pytest.mark.slow

CELLS = 8
SMALL = ["--prompts", "4", "--seeds", "0,1"]


@pytest.fixture
def pair():
    if reason := postgres.missing() or hosts.missing():
        pytest.skip(reason)
    with hosts.two_hosts() as (a, b), postgres.server(a.address, a.space) as server:
        yield a, b, server


def begin(host, out, *more, **values):
    """The sweep in `out` on this host, with one worker."""
    command = host.command(*FAKE, *SMALL, "--out", str(out), "--workers", "1", *more)
    values |= {"FAKE_GATE": str(gate(out))}
    with open(out / f"{host.name}.log", "w") as log:
        return subprocess.Popen(command, env=environment(**values), stdout=log, stderr=log)


def gate(out):
    return out / "gate"


def pass_one(out, *processes):
    """Lets the next cell that has begun through, and waits for its end."""
    before = len(results(out))
    gate(out).write_text(str(before + 1))
    until(lambda: len(results(out)) > before, "work goes on", *processes)


def shown(server):
    """How many trials the server has, asked on the spot."""
    import psycopg

    with suppress(psycopg.Error), psycopg.connect(server.local) as connection:
        return connection.execute("select count(*) from trials").fetchone()[0]
    return 0


def holders(out):
    """Which hosts have a cell, and which."""
    leases = {path: read_json(path) for path in out.glob("runs/tiny/*/lease.json")}
    return {found["host"].split()[0]: path.parent.name for path, found in leases.items() if found}


def at_gate(out, host):
    """Whether the host's cell has begun and may not go on."""
    begun = executed(out)
    return holders(out).get(host) in begun[int(gate(out).read_text()) :]


def results(out):
    return sorted(out.glob("runs/tiny/*/result.json"))


def test_a_cut_link_stops_no_work_and_every_cell_has_one_result(pair, tmp_path):
    """PostgreSQL on one host, the planner on the other, and between them silence.

    A worker dies then. The planner must not wait for the server: it replaces the worker. Each cell
    runs once, and the killed one again.
    """
    (a, b, server), log = pair, tmp_path / "host-b.log"
    planner, helper = begin(b, tmp_path, **{storage.VARIABLE: server.url}), None
    try:
        until(lambda: holders(tmp_path).keys() == {"host-b"}, "the planner begins", planner)
        helper = begin(a, tmp_path, "--join")
        until(
            lambda: holders(tmp_path).keys() == {"host-a", "host-b"}, "both begin", planner, helper
        )
        pass_one(tmp_path, planner, helper)
        until(lambda: shown(server), "the server is written", planner)
        a.cut()
        pass_one(tmp_path, planner, helper)
        until(lambda: "does not answer" in log.read_text(), "the silence is told", planner)
        until(lambda: at_gate(tmp_path, "host-b"), "b works on a cell", planner)
        (killed,) = children(planner)
        os.kill(killed, signal.SIGKILL)
        until(lambda: set(children(planner)) - {killed}, "b has another worker", planner)
        a.restore()
        gate(tmp_path).write_text("1000")
        assert planner.wait(300) == helper.wait(300) == 0, log.read_text()
    finally:
        for process in (planner, helper):
            if process and process.poll() is None:
                process.kill()
    said = log.read_text()
    silent = [line for line in said.splitlines() if "does not answer" in line]
    assert len(silent) == len(set(silent)) > 0, "a reason is said once"
    assert "another takes over" in said
    found = results(tmp_path)
    runs = Counter(executed(tmp_path))
    assert len(found) == len(runs) == CELLS
    assert sorted(runs.values()) == [1] * (CELLS - 1) + [2]
    assert not list(tmp_path.glob("runs/tiny/*/lease.json"))
    for path in found:  # as one process makes them
        alone = tmp_path / "alone" / path.parent.name
        alone.mkdir(parents=True)
        run_cell(Run(read_config(path.parent), tmp_path / "cache", alone), fake.STAGES)
        assert (alone / "result.json").read_bytes() == path.read_bytes()
    trials = storage.open_study(tmp_path / "runs/tiny", "lambda_hard", server.local).trials
    assert Counter(t.user_attrs["cell"] for t in trials) == Counter(runs.keys())
