"""What the queue asks of a file system that several hosts share: links, locks, renames, stamps.

On this machine's own disk, or where DIRECT_SHARED_FOLDERS names two mounts of one folder, as
`tests/kill_harness/nfs.sh` does: DIRECT_SHARED_FOLDERS=/mnt/a:/mnt/b.
"""

import json
import multiprocessing
import os
import random
import socket
import time
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from queued import CELLS, STAGES

from direct.common.files import give_name, write_json
from direct.config import Run
from sweeps import cell as cell_module
from sweeps.queue import leases, waiting

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def mounts(tmp_path):
    """One folder, as each of two hosts sees it."""
    places = os.environ.get("DIRECT_SHARED_FOLDERS", f"{tmp_path}:{tmp_path}").split(":")
    name = f"test-{uuid.uuid4().hex[:8]}"
    (Path(places[0]) / name).mkdir()
    return [Path(place) / name for place in places]


def together(act, mounts, processes=4):
    """`act(folder, number)` in processes that begin at once, in turn on either mount."""
    barrier = FORK.Barrier(processes)

    def begin(number):
        barrier.wait()
        act(mounts[number % 2], number)

    running = [FORK.Process(target=begin, args=(number,)) for number in range(processes)]
    for process in running:
        process.start()
    for process in running:
        process.join(120)
    assert [process.exitcode for process in running] == [0] * processes


def test_a_name_is_given_to_one_of_many_files(mounts):
    def act(folder, number):
        own = folder / f"own-{number}"
        won = []
        for name in range(40):
            own.write_text(str(number))
            if give_name(own, folder / f"name-{name}"):
                won.append(name)
            own.unlink()
        (folder / f"won-{number}").write_text(json.dumps(won))

    together(act, mounts)
    won = {n: json.loads((mounts[0] / f"won-{n}").read_text()) for n in range(4)}
    assert sorted(n for names in won.values() for n in names) == list(range(40)), "each name once"
    for number, names in won.items():
        assert all((mounts[1] / f"name-{name}").read_text() == str(number) for name in names)


def test_an_answer_that_was_lost_is_not_another_files(mounts, monkeypatch):
    """NFS asks again, and is told that the name is taken: by the file itself."""
    link = os.link

    def answered_twice(old, new):
        link(old, new)
        link(old, new)

    monkeypatch.setattr(os, "link", answered_twice)
    run = mounts[0] / "cell"
    token = leases.take(run)
    assert token and leases.holds(mounts[1] / "cell", token)
    assert leases.take(mounts[1] / "cell") is None
    assert [path.name for path in run.iterdir()] == [leases.NAME]


def test_one_plans_and_a_killed_planner_frees_the_right(mounts):
    ready = FORK.Event()

    def hold():
        with waiting.planner(mounts[0]):
            ready.set()
            time.sleep(600)

    holder = FORK.Process(target=hold)
    holder.start()
    assert ready.wait(120)
    with pytest.raises(waiting.Busy), waiting.planner(mounts[1]):
        pass
    holder.kill()
    holder.join()
    with waiting.planner(mounts[1]):
        pass


def test_a_lease_that_is_taken_away_on_one_host_is_gone_on_the_other(mounts):
    here, there = (mount / "cell" for mount in mounts)
    for _ in range(20):
        token = leases.take(here)
        assert leases.holds(there, token) and leases.take(there) is None
        leases.revoke(there)
        assert not leases.holds(here, token)
        other = leases.take(there)
        assert other and leases.take(here) is None
        assert not leases.holds(here, token), "whoever holds it now, which NFS may tell later"
        leases.drop(here, token)
        assert leases.holds(there, other), "who lost it drops nothing"
        leases.drop(there, other)


def test_a_lease_is_stamped_by_the_clock_that_judges_it(mounts):
    here, there = (mount / "cell" for mount in mounts)
    leases.take(here)
    owner = json.loads((here / leases.NAME).read_text())
    write_json(here / leases.NAME, owner | {"host": "elsewhere"})
    assert leases.live(there)
    old = time.time() - 2 * leases.LEASE_SECONDS
    os.utime(here / leases.NAME, (old, old))
    until = time.monotonic() + 120  # NFS remembers a stamp for up to a minute
    while leases.live(there):
        assert time.monotonic() < until
        time.sleep(0.2)
    os.utime(here / leases.NAME)
    assert leases.live(here)


def test_a_reader_elsewhere_never_meets_half_a_file(mounts):
    (mounts[0] / "value.json").write_text('{"n": -1, "rest": ""}')

    def act(folder, number):
        for n in range(60):
            if number == 0:
                write_json(folder / "value.json", {"n": n, "rest": "x" * 20_000})
            else:
                found = json.loads((folder / "value.json").read_text())
                assert len(found["rest"]) in (0, 20_000)

    together(act, mounts)


def test_each_cell_is_claimed_once(mounts):
    waiting.plan(mounts[0], "s", CELLS)

    def act(folder, number):
        left, done = waiting.planned(folder, "s"), []
        while claimed := waiting.claim(folder, left):
            run = Run(cell_module.read_config(claimed.run), folder, claimed.run)
            assert cell_module.run_cell(run, STAGES, lambda: leases.holds(*claimed))
            leases.drop(*claimed)
            done.append(claimed.run.name)
        (folder / f"done-{number}").write_text(" ".join(done))

    together(act, mounts)
    done = " ".join((mounts[0] / f"done-{n}").read_text() for n in range(4)).split()
    assert sorted(done) == sorted(cell.id for cell in CELLS)
    assert not list(mounts[1].glob("*/lease.json"))


@pytest.mark.slow
def test_killed_workers_of_two_hosts_lose_and_double_nothing(mounts, monkeypatch):
    """Twelve of them, at random moments; the planner is on the first host."""
    monkeypatch.setattr(leases, "LEASE_SECONDS", 2.0)
    monkeypatch.setattr(leases, "TOUCH_SECONDS", 0.2)
    stages = replace(STAGES, train=lambda run: time.sleep(0.2))
    rng, hosts = random.Random(0), [socket.gethostname(), "other-host"]
    waiting.plan(mounts[0], "s", CELLS)

    def work(number):
        socket.gethostname = lambda: hosts[number]
        left = waiting.planned(mounts[number], "s")
        while claimed := waiting.claim(mounts[number], left):
            run, token = claimed
            with leases.touched(run, token):
                here = Run(cell_module.read_config(run), mounts[number], run)
                cell_module.run_cell(here, stages, lambda run=run, token=token: holds(run, token))
            leases.drop(run, token)

    holds = leases.holds
    working, seen, killed = {}, {}, 0
    until = time.monotonic() + 300
    while len(seen) < len(CELLS):
        assert time.monotonic() < until
        for number in (0, 1):
            if number not in working or not working[number].is_alive():
                working[number] = FORK.Process(target=work, args=(number,))
                working[number].start()
        time.sleep(0.4 * rng.random())
        if killed < 12:
            victim = working[rng.randrange(2)]
            victim.kill()
            victim.join()
            killed += 1
        waiting.free(mounts[0], CELLS)
        now = {path: stamp(path) for path in mounts[0].glob("*/result.json")}
        assert seen.items() <= now.items(), "a result is lost, changed or written twice"
        seen = now
    for process in working.values():
        process.join(60)
    assert all(cell_module.read_result(mounts[1] / cell.id) for cell in CELLS)
    while list(mounts[0].glob("*/lease.json")):  # of one killed just after it had published
        assert time.monotonic() < until
        waiting.free(mounts[0], CELLS)


def stamp(path):
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, path.read_bytes()
