"""The command line's options: the cells and workers that they ask for, and what is refused."""

from argparse import Namespace
from dataclasses import replace

import pytest

from direct.common.errors import UserError
from direct.profiles import profile
from direct.settings import override
from sweeps import run
from sweeps.ablations import ABLATIONS
from sweeps.options import (
    base_of,
    columns_of,
    names,
    names_set,
    options_of,
    planned_cells,
    rows_of,
    seeds_of,
    sized,
    sweep_of,
    workers_of,
)
from sweeps.queue import storage
from sweeps.queue.sweep import EACH

BASE = override(profile("tiny"), "evaluate.prompts=4")

RAY = ["lambda_hard", "--launcher", "ray"]
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
        launcher=None,
    )
    assert workers_of(given, BASE).count == 1 and workers_of(given, BASE).gpus == 8
    on_ray = [workers_of(options_of([*RAY, *more]), BASE) for more in ([], ["--workers", "3"])]
    assert [workers.count for workers in on_ray] == [EACH, 3] and on_ray[0].launcher == "ray"
    with pytest.raises(UserError, match="--gpus-per-cell 0"):
        workers_of(Namespace(workers=None, gpus_per_cell="0"), BASE)


def test_the_storage_of_the_environment_is_taken(monkeypatch):
    monkeypatch.setenv(storage.VARIABLE, "postgresql://me@db/sweeps")
    assert options()[1].storage == "postgresql://me@db/sweeps"
    monkeypatch.setenv(storage.VARIABLE, "sqlite:///x")
    with pytest.raises(UserError, match="not a PostgreSQL URL"):
        options()


def test_a_table_has_its_own_prompts_unless_others_are_asked_for():
    table = replace(ABLATIONS["sampling"], prompts={"tiny": 256})

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


def test_without_options_a_sweep_is_the_tables_own_size():
    given = options_of(["lambda_hard"])
    table = ABLATIONS["lambda_hard"]
    found = planned_cells(table, base_of(given), given)
    assert [cell.config.seed for cell in found[:: len(table.rows)]] == list(table.seeds)
    assert given.profile == "tiny" and given.out == "." and given.set == []


def test_settings_reach_every_cell():
    given = options_of(["lambda_hard", "--set", "train.steps=9", "--seeds", "2"])
    found = planned_cells(ABLATIONS["lambda_hard"], base_of(given), given)
    assert {(cell.config.train.steps, cell.config.seed) for cell in found} == {(9, 2)}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--prompts", "4", "--set", "evaluate.prompts=8"], "it is what --prompts gives"),
        (["--prompts", "8", "--set", "evaluate.prompts=8"], "it is what --prompts gives"),
        (["--set", "seed=3"], "it is what --seeds gives"),
        (["--set", "train.steps=7", "--set", "train.steps=9"], "train.steps is given twice"),
    ],
)
def test_of_two_options_that_say_the_same_none_wins_silently(more, said):
    with pytest.raises(UserError, match=said):
        base_of(options_of(["lambda_hard", *more]))


def test_the_papers_rows_alone_are_those_it_printed():
    table = ABLATIONS["lambda_hard"]
    labels = [row.label for row in rows_of(table, options_of(["lambda_hard", "--paper-rows"])).rows]
    assert labels == list(table.published)
    assert rows_of(table, options_of(["lambda_hard"])) is table


def test_seeds_are_the_options_or_the_tables_own():
    with pytest.raises(UserError, match=r"--seeds 0,0 repeats a seed"):
        seeds_of(Namespace(seeds="0,0"))
    assert seeds_of(Namespace(seeds="3,0")) == (3, 0) and seeds_of(Namespace(seeds=None)) is None


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "two", "", "9" * 5000, "²"])
def test_what_is_no_count_of_workers_is_refused(text):
    with pytest.raises(UserError, match=r"--workers .* is not a positive integer"):
        workers_of(options_of(["lambda_hard", f"--workers={text}"]), BASE)


def test_workers_share_the_cores_unless_they_own_gpus(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 7)
    count = lambda *more: options(*more)[1].count  # noqa: E731
    assert count() == 7 // BASE.threads and count("--workers", "3") == 3
    assert count("--gpus-per-cell", "2") == 1
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert count() == 1


@pytest.mark.parametrize("pair", [("--join", "--retry-failed"), ("--accept-old", "--rerun")])
def test_options_that_exclude_each_other_are_refused(pair):
    with pytest.raises(UserError, match=f"{pair[0]} and {pair[1]} are mutually exclusive"):
        options_of(["lambda_hard", *pair])
    assert all(options_of(["lambda_hard", one]) for one in pair)


def test_a_sweep_is_kept_below_out_by_profile(tmp_path):
    given = options_of(["lambda_hard", "--out", str(tmp_path), "--retry-failed"])
    sweep = sweep_of(ABLATIONS["lambda_hard"], [], BASE, given)
    assert (sweep.root, sweep.cache) == (tmp_path / "runs/tiny", tmp_path / "cache/tiny")
    assert sweep.workers.retry_failed and not sweep.workers.join


def test_every_sweep_and_verb_has_one_name():
    assert len(names()) == len(set(names())) and {"lambda_hard", "fsck"} <= set(names())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no sweep is named"),
        (["lambda_hard", "--grid", "train.steps=1,2"], "leave one out"),
        (["status", "--name", "x"], "status takes no --name"),
        (["lambda_hard", "--name", "all"], "is the name of a sweep or a command"),
        (["lambda_hard", "--name", "a/b"], "cannot name a folder"),
    ],
)
def test_a_command_names_one_thing_to_run(arguments, said):
    with pytest.raises(UserError, match=said):
        options_of(arguments)


def test_a_settings_name_counts_once_however_often_it_is_set():
    given = options_of(["all", "--set", "b.c=1", "--set", "a=2", "--set", " b.c = 3"])
    assert names_set(given) == ["b.c", "a"]


def test_prompts_are_a_tables_size_unless_they_are_asked_for():
    table = replace(ABLATIONS["sampling"], prompts={"tiny": 256})
    assert sized(table, BASE, options_of(["x"])).evaluate.prompts == table.prompts["tiny"]
    for asked in (["--prompts", "4"], ["--set", "evaluate.prompts=4"]):
        assert sized(table, BASE, options_of(["x", *asked])) is BASE


def test_columns_of_the_latex_are_known_before_any_work():
    assert columns_of(options_of(["lambda_hard", "--columns", "SA, PC,"])) == ("SA", "PC")
    assert columns_of(options_of(["lambda_hard"])) == ()
    with pytest.raises(UserError, match="--columns names SA twice"):
        columns_of(options_of(["lambda_hard", "--columns", "SA,PC,SA"]))
    with pytest.raises(UserError, match="--columns SB is no column; did you mean SA"):
        columns_of(options_of(["lambda_hard", "--columns", "SB"]))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lambda_hard", "--until-decided", "--seeds", "0,1"], "--seeds fixes the seeds, and"),
        (["lambda_hard", "--max-seeds", "9"], "--max-seeds bounds --until-decided"),
        (["lambda_hard", "--until-decided", "--max-seeds", "1"], "use 2 to 10000"),
        (["all", "--until-decided"], "all takes no --until-decided"),
        (["lambda_hard", "--until-decided", "--join"], "takes no --join"),
        (["lambda_hard", "--until-decided", "--launcher", "slurm"], "takes no --launcher"),
    ],
)
def test_what_does_not_go_with_rounds_of_seeds_is_refused(arguments, said):
    with pytest.raises(UserError, match=said):
        options_of(arguments)
