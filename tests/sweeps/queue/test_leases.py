"""Leases: whoever is gone holds none, whatever the clocks say."""

import errno
import json
import os
import subprocess
import sys
import time

import pytest

from sweeps.queue import leases


def test_a_lease_of_a_reused_process_number_is_stale(tmp_path):
    token = leases.take(tmp_path)
    assert leases.holds(tmp_path, token) and leases.live(tmp_path)
    lease = tmp_path / "lease.json"
    owner = json.loads(lease.read_text())
    lease.write_text(json.dumps(owner | {"started": "1"}))
    assert not leases.live(tmp_path)


def test_a_lease_of_another_host_ages(tmp_path):
    lease = tmp_path / "lease.json"
    lease.write_text(json.dumps({"host": "elsewhere", "pid": 1, "started": "1", "token": "t"}))
    assert leases.live(tmp_path)
    old = time.time() - 2 * leases.LEASE_SECONDS
    os.utime(lease, (old, old))
    assert not leases.live(tmp_path)


def test_a_container_that_shares_the_hosts_name_is_another_host(tmp_path):
    """Its process numbers mean nothing here: nobody of that number lives, and yet it works."""
    leases.take(tmp_path)
    owner = json.loads((tmp_path / leases.NAME).read_text())
    name, _, space = owner["host"].partition(" ")
    assert space == os.readlink("/proc/self/ns/pid")
    gone = owner | {"started": "1"}
    (tmp_path / leases.NAME).write_text(json.dumps(gone))
    assert not leases.live(tmp_path)
    (tmp_path / leases.NAME).write_text(json.dumps(gone | {"host": f"{name} pid:[7]"}))
    assert leases.live(tmp_path)


@pytest.mark.parametrize("jump", [-1e9, 1e9])
def test_a_clock_that_jumps_takes_no_lease_away(tmp_path, monkeypatch, jump):
    """A holder here is looked up; one elsewhere is judged by the clock that stamps its lease."""
    for name, host in (("here", None), ("there", "elsewhere")):
        run = tmp_path / name
        leases.take(run)
        owner = json.loads((run / leases.NAME).read_text())
        (run / leases.NAME).write_text(json.dumps(owner | ({"host": host} if host else {})))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + jump)
    assert leases.live(tmp_path / "here") and leases.live(tmp_path / "there")
    os.utime(tmp_path / "here" / leases.NAME, (now + jump, now + jump))
    assert leases.live(tmp_path / "here"), "its process lives, whatever the stamp"


def test_a_lease_stamped_in_the_future_does_not_last_for_ever(tmp_path):
    """The shared clock was set back: a live holder stamps it anew, a dead one must not block."""
    leases.take(tmp_path)
    lease = tmp_path / leases.NAME
    lease.write_text(json.dumps({"host": "elsewhere", "pid": 1, "started": "1", "token": "t"}))
    later = time.time() + 86400
    os.utime(lease, (later, later))
    assert not leases.live(tmp_path)


def test_a_lease_is_one_holders_until_it_is_dropped_by_its_token(tmp_path):
    run = tmp_path / "cell"
    assert not leases.live(run) and not leases.holds(run, "t")
    token = leases.take(run)
    assert leases.take(run) is None and leases.live(run)
    leases.drop(run, "another token")
    assert leases.holds(run, token), "who lost it drops nothing"
    leases.drop(run, token)
    assert not leases.live(run) and list(run.iterdir()) == [], "nothing temporary is left"
    assert leases.take(run) not in (None, token)


def test_a_revoked_lease_fences_its_holder(tmp_path):
    token = leases.take(tmp_path)
    leases.revoke(tmp_path)
    new = leases.take(tmp_path)
    assert not leases.holds(tmp_path, token) and leases.holds(tmp_path, new)
    leases.revoke(tmp_path)
    leases.revoke(tmp_path)  # of nothing: no error


def test_a_held_lease_is_kept_young(tmp_path, monkeypatch):
    """Also over a disk that does not answer for a while."""
    monkeypatch.setattr(leases, "TOUCH_SECONDS", 0.01)
    token, lease, calls = leases.take(tmp_path), tmp_path / leases.NAME, []
    os.utime(lease, (1, 1))

    def utime(path):
        calls.append(path)
        if len(calls) < 3:
            raise OSError(errno.EIO, "Input/output error")
        real(path)

    real = os.utime
    monkeypatch.setattr(os, "utime", utime)
    with leases.touched(tmp_path, token):
        until = time.monotonic() + 60
        while lease.stat().st_mtime == 1 and time.monotonic() < until:
            time.sleep(0.01)
    assert lease.stat().st_mtime > 1


def test_who_lost_a_lease_does_not_keep_the_next_holders_young(tmp_path, monkeypatch):
    """A host that was frozen works on; where the one that took over dies, its lease must end."""
    monkeypatch.setattr(leases, "TOUCH_SECONDS", 0.01)
    token, lease = leases.take(tmp_path), tmp_path / leases.NAME
    looks, holds = [], leases.holds
    monkeypatch.setattr(leases, "holds", lambda *given: looks.append(given) or holds(*given))

    def looked(times):
        seen, until = len(looks), time.monotonic() + 60
        while len(looks) < seen + times and time.monotonic() < until:
            time.sleep(0.01)
        assert len(looks) >= seen + times

    with leases.touched(tmp_path, token):
        leases.revoke(tmp_path)
        leases.take(tmp_path)
        looked(2)  # the first may have begun while the lease was its own
        os.utime(lease, (1, 1))
        looked(3)
        assert lease.stat().st_mtime == 1


def test_a_process_is_told_by_its_start():
    assert leases.started(os.getpid()) == leases.started(os.getpid()) is not None
    child = subprocess.Popen([sys.executable, "-c", ""])
    until = time.monotonic() + 300
    while leases.started(child.pid) and time.monotonic() < until:
        time.sleep(0.01)
    assert leases.started(child.pid) is None, "a zombie works no more"
    child.wait()
    assert leases.started(child.pid) is None


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"host": "here"}'])
def test_a_damaged_lease_ages_like_one_of_another_host(tmp_path, damage):
    lease = tmp_path / leases.NAME
    lease.write_text(damage)
    assert leases.live(tmp_path) and leases.take(tmp_path) is None
    os.utime(lease, (time.time() - 2 * leases.LEASE_SECONDS,) * 2)
    assert not leases.live(tmp_path)
