"""Filling a store: shared by processes, resumed, never twice; what cannot be made is named."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time

import pytest
import torch

from direct.common.errors import UserError
from direct.prepare import fill
from direct.prepare.store import Store

WANTED = {f"{n:02}": n for n in range(10)}


def squares(items):
    return [torch.tensor([item**2]) for item in items]


def slow(folder, items):
    for item in items:
        with open(folder / "made", "a") as handle:
            handle.write(f"{item}\n")
    time.sleep(0.05)
    return squares(items)


def share(folder, wanted):
    fill.POLL_SECONDS = 0.05
    store = Store(folder / "store")
    fill.fill(store, wanted, lambda items: slow(folder, items), 2, "test")
    assert not store.missing(wanted)


def held(store):
    return {key: int(store[key]) for key in WANTED}


@pytest.mark.slow
def test_machines_that_run_the_same_command_make_each_item_once(tmp_path):
    context = multiprocessing.get_context("fork")
    others = [context.Process(target=share, args=(tmp_path, WANTED)) for _ in range(3)]
    for process in others:
        process.start()
    for process in others:
        process.join()
        assert process.exitcode == 0
    made = (tmp_path / "made").read_text().split()
    assert sorted(map(int, made)) == sorted(WANTED.values())
    assert held(Store(tmp_path / "store")) == {key: n**2 for key, n in WANTED.items()}
    assert not list((tmp_path / "store").glob(".*.plan"))


def test_a_killed_machine_loses_the_shard_in_progress_alone(tmp_path):
    def dying(items):
        if 4 in items:
            os._exit(9)
        return squares(items)

    def work():
        fill.fill(Store(tmp_path), WANTED, dying, 2, "test")

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()
    store = Store(tmp_path)
    assert process.exitcode == 9 and store.missing(WANTED) == [f"{n:02}" for n in range(4, 10)]
    asked, seen = [], []

    def make(items):
        asked.extend(items)
        return squares(items)

    fill.fill(store, WANTED, make, 2, "test", lambda *said: seen.append(said))
    assert sorted(asked) == [4, 5, 6, 7, 8, 9] and seen[-1] == ("test", 10, 10)
    assert held(store) == {key: n**2 for key, n in WANTED.items()}


def test_what_cannot_be_made_is_named_and_the_rest_is_kept(tmp_path):
    def make(items):
        return [f"clip {n} is cut" if n in (3, 8) else torch.tensor([n]) for n in items]

    store = Store(tmp_path)
    with pytest.raises(UserError, match=r"test: 2 of 10 could not be made.*clip 3 is cut"):
        fill.fill(store, WANTED, make, 4, "test")
    assert store.missing(WANTED) == ["03", "08"]
    fill.fill(store, WANTED, squares, 4, "test")  # mended
    assert not store.missing(WANTED) and int(store["03"]) == 9 and int(store["04"]) == 4


def test_a_plan_left_by_a_kill_at_its_very_end_does_not_hide_what_is_missing(tmp_path):
    store = Store(tmp_path)
    path, shards = fill._plan(store, WANTED, 4)
    path.write_text("#" * len(shards) + path.read_text()[len(shards) :])
    fill.fill(store, WANTED, squares, 4, "test")
    assert not store.missing(WANTED)


def test_a_plan_that_another_machine_finishes_while_it_is_read(tmp_path, monkeypatch):
    at_work, reading, real = threading.Event(), threading.Event(), fill.read_bounded

    def make(items):
        at_work.set()
        assert reading.wait(60)
        return squares(items)

    def work():
        fill.fill(Store(tmp_path), WANTED, make, len(WANTED), "test")

    def read(path):
        if path.suffix == ".plan" and threading.current_thread() is not other:
            reading.set()
            other.join(0.3)  # it does its work, and waits before it takes the plan away
        return real(path)

    other = threading.Thread(target=work, daemon=True)
    other.start()
    assert at_work.wait(60)
    monkeypatch.setattr(fill, "read_bounded", read)
    store = Store(tmp_path)
    fill.fill(store, WANTED, squares, len(WANTED), "test")
    other.join(60)
    assert reading.is_set() and held(store) == {key: n**2 for key, n in WANTED.items()}
    assert not list(tmp_path.glob(".*.plan"))


def test_a_machine_that_comes_late_to_a_plan_takes_no_other_for_it(tmp_path):
    """The others were done with it, and what could not be made is planned again."""
    store, made = Store(tmp_path), []
    old, shards = fill._plan(store, WANTED, 2)
    with pytest.raises(UserError, match="2 of 10 could not be made"):
        cut = [f"{n} is cut" if n in (3, 8) else torch.tensor([n]) for n in range(10)]
        fill.fill(store, WANTED, lambda items: [cut[n] for n in items], 2, "test")
    new, again = fill._plan(store, WANTED, 2)
    assert again == [["03", "08"]] and len(shards) == 5
    job = 4, {key: WANTED[key] for key in shards[4]}
    assert fill._work(tmp_path, old, made.append, "test", job) == {} and not made
    assert fill._plan(store, WANTED, 2) == (new, again), "it is whole"


@pytest.mark.parametrize(
    "damage", [b"", b"..\n[[", b"\xff\n[]", b".\n5", b'.\n[["other"]]', b"...\n[[]]", b".\n[[{}]]"]
)
def test_a_damaged_plan_is_made_again(tmp_path, damage):
    store = Store(tmp_path)
    path, shards = fill._plan(store, WANTED, 4)
    assert fill._plan(store, WANTED, 2) == (path, shards), "who wants the same works from it"
    path.write_bytes(damage)
    fill.fill(store, WANTED, squares, 4, "test")
    assert not store.missing(WANTED) and not path.exists()
