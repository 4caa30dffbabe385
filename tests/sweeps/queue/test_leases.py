"""Leases: whoever is gone holds none, whatever the clocks say."""

import json
import os
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
