"""The command line's options: the cells and workers that they ask for, and what is refused."""

from argparse import Namespace

import pytest

from direct.common.errors import UserError
from direct.profiles import profile
from direct.settings import override
from sweeps import run
from sweeps.ablations import ABLATIONS
from sweeps.options import base_of, options_of, planned_cells, workers_of
from sweeps.queue import storage

BASE = override(profile("tiny"), "evaluate.prompts=4")

PLAN = ["lambda_hard", "--prompts", "4", "--seeds", "0", "--launcher", "slurm"]


def options(*more):
    found = options_of([*PLAN, *more])
    return found, workers_of(found, BASE)


def test_a_search_has_no_array(tmp_path):
    with pytest.raises(UserError, match="run it without --launcher"):
        run.main(["search", "--launcher", "slurm", "--out", str(tmp_path)])


def test_workers_count_what_they_own(monkeypatch):
    monkeypatch.delenv(storage.VARIABLE, raising=False)
    given = Namespace(
        workers=None,
        gpus_per_cell="8",
        storage=None,
        retry_failed=False,
        join=False,
        accept_old=False,
        rerun=False,
    )
    assert workers_of(given, BASE).count == 1 and workers_of(given, BASE).gpus == 8
    with pytest.raises(UserError, match="--gpus-per-cell 0"):
        workers_of(Namespace(workers=None, gpus_per_cell="0"), BASE)


def test_the_storage_of_the_environment_is_taken(monkeypatch):
    monkeypatch.setenv(storage.VARIABLE, "postgresql://me@db/sweeps")
    assert options()[1].storage == "postgresql://me@db/sweeps"
    monkeypatch.setenv(storage.VARIABLE, "sqlite:///x")
    with pytest.raises(UserError, match="not a PostgreSQL URL"):
        options()


def test_a_table_has_its_own_prompts_unless_others_are_asked_for():
    table = ABLATIONS["sampling"]

    def prompts(*options):
        given = options_of(["sampling", *options])
        return {c.config.evaluate.prompts for c in planned_cells(table, base_of(given), given)}

    assert prompts() == {table.prompts["tiny"]} != {BASE.evaluate.prompts}
    assert prompts("--prompts", "192") == {192}
    assert prompts("--set", "evaluate.prompts=192") == {192}
    assert prompts("--profile", "wan2.1-t2v-1.3b") == {344}, "VideoPhy has no more"
    given = options_of(["all"])
    ids = {
        name: {c.id for c in planned_cells(ABLATIONS[name], BASE, given)}
        for name in ("sampling", "sota")
    }
    assert ids["sota"] < ids["sampling"], "Table 2's rows are two of Table 1's"
