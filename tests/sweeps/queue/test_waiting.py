"""The queue: nothing twice, nothing lost, whatever was killed."""

import multiprocessing
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, replace

import pytest
from queued import CELLS, TABLE, drain

from direct.common.errors import UserError
from direct.common.files import write_json
from direct.profiles import profile
from direct.settings import override
from sweeps.cell import read_config, read_result, write_config
from sweeps.queue import leases, waiting
from sweeps.schema import Row, cells

IDS = [cell.id for cell in CELLS]


def left(root, sweep="s"):
    return waiting.planned(root, sweep)


def test_a_planned_cell_waits_once_in_its_order_with_its_configuration(tmp_path):
    for _ in range(2):
        waiting.plan(tmp_path, "s", CELLS)
    assert list(waiting.planned(tmp_path, "s")) == IDS
    assert all(waiting.waits(tmp_path / name) for name in IDS)
    assert drain(tmp_path) == IDS and drain(tmp_path) == []
    assert [read_config(tmp_path / name) for name in IDS] == [cell.config for cell in CELLS]


def test_a_planned_cell_takes_neither_a_folder_nor_a_file_of_its_own(tmp_path):
    """There may be ten thousand of them, on a file server."""
    waiting.plan(tmp_path, "s", CELLS)
    assert [path.name for path in tmp_path.rglob("*")] == ["queue", "s.json"]


def test_a_configuration_that_is_there_is_left_and_a_damaged_or_another_one_written(tmp_path):
    watched = override(CELLS[2].config, "train.checkpoint_every=7")  # which names nothing
    waiting.plan(tmp_path, "s", [*CELLS[:2], replace(CELLS[2], config=watched)])
    for cell in CELLS[:3]:
        write_config(tmp_path / cell.id, asdict(cell.config))
    files = [tmp_path / name / "config.json" for name in IDS[:3]]
    files[1].write_text("{")
    before = files[0].stat().st_mtime_ns
    for _ in files:
        waiting.claim(tmp_path, left(tmp_path))
    assert files[0].stat().st_mtime_ns == before
    assert read_config(files[1].parent) == CELLS[1].config
    assert read_config(files[2].parent) == watched


def test_a_cell_is_taken_once_and_the_next_one_after_it(tmp_path):
    waiting.plan(tmp_path, "s", CELLS[:2])
    first, second = (waiting.claim(tmp_path, left(tmp_path)) for _ in range(2))
    assert [first.run.name, second.run.name] == IDS[:2]
    assert waiting.claim(tmp_path, left(tmp_path)) is None
    assert leases.holds(first.run, first.token) and not waiting.waits(first.run)
    leases.drop(*first)  # as a worker does that was told to stop
    assert waiting.claim(tmp_path, left(tmp_path)).run == first.run


def test_what_has_ended_is_forgotten_and_what_others_hold_is_not(tmp_path):
    waiting.plan(tmp_path, "s", CELLS[:3])
    leases.take(tmp_path / IDS[0])
    write_json(tmp_path / IDS[1] / "failure.json", {"reason": "no clip"})
    own = left(tmp_path)
    assert waiting.claim(tmp_path, own).run.name == IDS[2]
    assert list(own) == [IDS[0], IDS[2]]


def test_a_cell_that_ends_while_it_is_claimed_is_not_run_again(tmp_path, monkeypatch):
    """Its last worker wrote the result and dropped the lease between the look and the claim."""
    waiting.plan(tmp_path, "s", CELLS[:1])
    real = leases.take

    def late(run):
        write_json(run / "result.json", {})
        return real(run)

    monkeypatch.setattr(leases, "take", late)
    own = left(tmp_path)
    assert waiting.claim(tmp_path, own) is None and own == {}
    assert not (tmp_path / IDS[0] / leases.NAME).exists()


def test_a_cell_of_a_dead_worker_waits_again(tmp_path):
    waiting.plan(tmp_path, "s", CELLS[:1])
    code = (
        "import sys, time; from pathlib import Path; from sweeps.queue import waiting; "
        "root = Path(sys.argv[1]); left = waiting.planned(root, 's'); "
        "assert waiting.claim(root, left); print('held', flush=True); time.sleep(600)"
    )
    worker = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert worker.stdout.readline() == b"held\n"
    run = tmp_path / IDS[0]
    waiting.free(tmp_path, CELLS[:1])
    assert leases.live(run) and not waiting.waits(run), "a live worker keeps its cell"
    worker.kill()
    worker.wait()
    assert not waiting.waits(run), "nobody but a planner takes a lease away"
    waiting.free(tmp_path, CELLS[:1])
    assert waiting.waits(run) and drain(tmp_path) == IDS[:1]


def test_a_lease_that_another_worker_took_meanwhile_stays(tmp_path, monkeypatch):
    """The planner looks at a lease, which is dropped just then; the next worker's is alive."""
    run = tmp_path / CELLS[0].id
    first, live = leases.take(run), leases.live

    def looks(folder):
        leases.drop(folder, first)
        found = live(folder)
        second.append(leases.take(folder))
        return found

    second: list[str] = []
    monkeypatch.setattr(leases, "live", looks)
    waiting.free(tmp_path, CELLS[:1])
    assert leases.holds(run, second[0])


def test_a_damaged_result_is_made_again(tmp_path):
    waiting.plan(tmp_path, "s", CELLS[:1])
    drain(tmp_path)
    result = tmp_path / IDS[0] / "result.json"
    result.write_bytes(result.read_bytes()[:-9])
    waiting.plan(tmp_path, "s", CELLS[:1])
    assert drain(tmp_path) == IDS[:1] and read_result(tmp_path / IDS[0])


def test_a_sweep_that_nobody_planned_is_refused(tmp_path):
    waiting.plan(tmp_path, "all", CELLS)
    with pytest.raises(UserError, match="sweep s is not planned"):
        waiting.planned(tmp_path, "s")


@pytest.mark.parametrize(
    "found",
    [
        {"shared": {}},
        {"shared": {}, "cells": 5},
        {"shared": {}, "cells": {"0" * 12: {}}},
        {"cells": [["0" * 12, {}]]},
        {"shared": [], "cells": [["0" * 12, {}]]},
        {"cells": ["0" * 12]},  # of an older version
    ],
)
def test_a_damaged_list_is_no_plan(tmp_path, found):
    write_json(tmp_path / "queue/s.json", found)
    with pytest.raises(UserError, match="not planned"):
        waiting.planned(tmp_path, "s")


def test_a_damaged_list_names_no_folder_elsewhere(tmp_path):
    names = ["../../x", "0" * 12, 5, None, "0" * 13, f"{IDS[0]}/.."]
    cells = [*([name, {}] for name in names), "1" * 12, ["2" * 12], ["3" * 12, 5], {}]
    write_json(tmp_path / "queue/s.json", {"shared": {"seed": 1}, "cells": cells})
    assert waiting.planned(tmp_path, "s") == {"0" * 12: {"seed": 1}}


def test_a_value_added_to_a_grid_is_all_that_is_new(tmp_path):
    base = override(profile("tiny"), "evaluate.prompts=2")
    waiting.plan(tmp_path, "s", cells(TABLE, base, (0,)))
    assert len(drain(tmp_path)) == 4
    more = replace(TABLE, rows=(Row("0.01", {"loss.lambda_hard": 0.01}), *TABLE.rows))
    planned = cells(more, base, (0,))
    waiting.plan(tmp_path, "s", planned)
    assert list(waiting.planned(tmp_path, "s")) == [c.id for c in planned if c.row == "0.01"]


def test_two_planners_at_once_are_refused(tmp_path):
    with (
        waiting.planner(tmp_path),
        pytest.raises(UserError, match="another sweep"),
        waiting.planner(tmp_path),
    ):
        pass
    with waiting.planner(tmp_path):
        pass


def take_all(root, answers):
    own = left(root)
    while claim := waiting.claim(root, own):
        write_json(claim.run / "result.json", {})
        answers.put(claim.run.name)
        leases.drop(*claim)


@pytest.mark.slow
def test_every_cell_goes_to_one_of_eight_workers_at_once(tmp_path):
    many = cells(TABLE, override(profile("tiny"), "evaluate.prompts=3"), range(40))
    waiting.plan(tmp_path, "s", many)
    fork = multiprocessing.get_context("fork")
    answers = fork.Queue()
    workers = [fork.Process(target=take_all, args=(tmp_path, answers)) for _ in range(8)]
    for worker in workers:
        worker.start()
    claimed = Counter(answers.get(timeout=120) for _ in many)
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    assert claimed == Counter(cell.id for cell in many) and answers.empty()
    assert not list(tmp_path.glob(f"*/{leases.NAME}"))
