"""Work shared out over servers that are slow, die or fail: each job once, or one clear sentence."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import pytest

from direct.common.errors import UserError
from direct.prepare.several import RESUME, shared_out

JOBS = list(range(20))


def square(job, server):
    return server(job)


def quick(job):
    time.sleep(0.002)
    return job * job


def dead(job):
    raise UserError(f"it does not answer; {RESUME}")


def test_one_server_has_its_jobs_in_order_and_in_this_thread():
    threads = set()

    def noted(job):
        threads.add(threading.current_thread())
        return job * job

    assert list(shared_out(JOBS, {"a": noted}, square)) == [n * n for n in JOBS]
    assert threads == {threading.main_thread()}


def test_every_job_is_done_once_by_all_servers():
    did, each_has_one = {"a": [], "b": [], "c": []}, threading.Barrier(3)

    def server(name):
        def work(job):
            did[name].append(job)
            if len(did[name]) == 1:
                each_has_one.wait(60)
            return quick(job)

        return work

    found = list(shared_out(JOBS, {name: server(name) for name in did}, square))
    assert sorted(found) == [n * n for n in JOBS]
    assert all(did.values()), "each of them had work"


def test_what_a_dead_server_had_goes_to_the_others(stderr):
    def waits(job):  # else it may have done all before the other one begins
        assert stderr.told.wait(60)
        return quick(job)

    assert sorted(shared_out(JOBS, {"a": dead, "b": waits}, square)) == [n * n for n in JOBS]
    assert stderr.getvalue().strip() == "it does not answer; 1 of 2 servers go on"


def test_a_slow_servers_last_job_is_taken_over_and_its_own_answer_ignored():
    begun, free, late = threading.Event(), threading.Event(), []

    def hangs(job):
        begun.set()
        free.wait(300)
        late.append(job)
        return "late"

    def waits(job):
        assert begun.wait(60), "else it may have done all before the slow one begins"
        return quick(job)

    try:
        found = list(shared_out(JOBS, {"slow": hangs, "quick": waits}, square))
        assert sorted(found) == [n * n for n in JOBS] and not late
    finally:
        free.set()


def test_a_job_whose_two_servers_fail_is_done_by_a_third():
    both = threading.Barrier(2)

    def fails_late(job):
        with suppress(threading.BrokenBarrierError):
            both.wait(2)  # until both have it; or the third has it already
        dead(job)

    def third(job):
        time.sleep(0.1)
        return quick(job)

    servers = {"a": fails_late, "b": fails_late, "c": third}
    assert list(shared_out([3], servers, square)) == [9]


def test_no_server_left_is_one_sentence_and_earlier_results_are_there():
    left = iter(JOBS[:3])

    def soon(job):
        next(left, None) is None and dead(job)
        return job * job

    found = []
    with pytest.raises(UserError, match=r"none of the 2 servers is left; finished work") as error:
        found.extend(shared_out(JOBS, {"a": soon, "b": soon}, square))
    assert str(error.value).count(RESUME) == 1 and str(error.value).count("not answer") == 2
    assert sorted(found) == [0, 1, 4]


def test_a_fault_of_the_program_is_none_of_a_server():
    def broken(job):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(shared_out(JOBS, {"a": broken, "b": broken}, square))


def test_nothing_to_do_is_nothing():
    assert list(shared_out([], {"a": quick, "b": quick}, square)) == []
