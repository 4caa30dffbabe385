"""What was asked for, noted in the run folder and read again."""

import json
from dataclasses import replace

import pytest

from direct.common.errors import UserError
from direct.plugins import registry
from direct.profiles import profile
from direct.settings import override, with_values
from sweeps.ablations import ABLATIONS
from sweeps.experiments import (
    LONGEST,
    Experiment,
    automatic_name,
    check_name_is_free,
    checked_name,
    named,
    place_of,
    recorded,
    remember,
    words,
)
from sweeps.schema import Metric, cells

BASE = override(profile("tiny"), "evaluate.prompts=4", "loss.lambda_rand=0.01")


def experiment(name="lambda_hard", own=True, seeds=(0, 1), changed=(), called=""):
    table = replace(ABLATIONS[name], changed=changed)
    return Experiment(called or name, table, tuple(cells(table, BASE, seeds)), BASE, own)


@pytest.mark.parametrize("name", ["sampling", "alignment", "dynamics", "guidance"])
def test_what_is_noted_is_read_again_cell_by_cell(tmp_path, name):
    """Also rows with a function of the configuration, points of a curve, and rows of the best."""
    noted = experiment(name, own=False)
    remember(noted, tmp_path)
    (found,), faults = recorded(tmp_path)
    assert not faults and found.cells == noted.cells and found.base == BASE and not found.own
    labels = [(row.label, row.against, row.part, row.best_of) for row in noted.table.rows]
    assert [(x.label, x.against, x.part, x.best_of) for x in found.table.rows] == labels
    assert found.table.contrasts == noted.table.contrasts and found.table.axis == noted.table.axis
    assert not any(callable(x) for row in found.table.rows for x in row.values.values())
    assert found.seeds == (0, 1)


def test_how_a_plug_ins_metrics_are_shown_is_noted(tmp_path, plugged):
    """So `report` needs no file, also where another judge has a metric of that name."""
    plugged(
        '@plugins.judge(sharp=plugins.Score("sharpness", scale=10, decimals=1, better=-1))\n'
        "def eye(): ...\n"
    )
    table = replace(ABLATIONS["lambda_hard"], metrics=("sharp", "PC"))
    remember(Experiment("own", table, tuple(cells(table, BASE, (0,))), BASE), tmp_path)
    registry._entries.clear()
    (found,), _ = recorded(tmp_path)
    assert found.metrics == {"sharp": Metric("sharpness", 10, 1, "eye", -1)}


def test_few_clips_are_read_again_where_a_row_draws_no_negative(tmp_path):
    """Such a row's clusters stand at the profile's default, which is above the clips."""
    base = override(BASE, "data.clips=12", "macro.clusters=3")
    table = ABLATIONS["lambda_anc"]  # zero-shot, and SFT
    noted = Experiment("own", table, tuple(cells(table, base, (0,))), base)
    assert all(cell.config.macro.clusters > 12 for cell in noted.cells)
    remember(noted, tmp_path)
    assert recorded(tmp_path) == ([noted], [])


def test_a_function_of_the_configuration_is_noted_as_its_value(tmp_path):
    noted = experiment("guidance")
    remember(noted, tmp_path)
    (found,), _ = recorded(tmp_path)
    row = next(x for x in found.table.rows if callable(_first(noted, x.label)))
    name = next(key for key, value in _values(noted, row.label).items() if callable(value))
    assert row.values[name] == _values(noted, row.label)[name](BASE)


def _values(noted, label):
    return next(row.values for row in noted.table.rows if row.label == label)


def _first(noted, label):
    return next((x for x in _values(noted, label).values() if callable(x)), None)


def test_the_last_asked_for_stays_and_the_same_again_writes_nothing(tmp_path):
    remember(experiment(seeds=(0,)), tmp_path)
    path = place_of(tmp_path, "lambda_hard", "lambda_hard")
    before = path.stat().st_mtime_ns
    remember(experiment(seeds=(0,)), tmp_path)
    assert path.stat().st_mtime_ns == before
    remember(experiment(seeds=(0, 1)), tmp_path)
    assert [x.seeds for x in recorded(tmp_path)[0]] == [(0, 1)]


def test_one_that_cannot_be_read_is_named_and_the_others_are_there(tmp_path):
    for name in ("one", "two", "three", "four"):
        remember(experiment(called=name), tmp_path)
    place_of(tmp_path, "two", "lambda_hard").write_text("{")
    for name, key, value in (("three", "version", 99), ("four", "base", {"profile": "tiny"})):
        path = place_of(tmp_path, name, "lambda_hard")
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    found, faults = recorded(tmp_path)
    assert [x.name for x in found] == ["one"] and len(faults) == 3
    assert "run the experiment again" in faults[0]  # four: other cells than it had
    assert "version 99" in faults[1] and "two" in faults[2]
    assert recorded(tmp_path / "nothing") == ([], [])


def test_an_experiment_is_named_with_all_its_tables_or_with_one(tmp_path):
    known = [experiment(called="lr"), experiment("sampling", called="lr"), experiment("cost")]
    assert named("lr", known) == known[:2] and named("lr:sampling", known) == [known[1]]
    with pytest.raises(UserError, match="did you mean cost"):
        named("cots", known)
    with pytest.raises(UserError, match="lr:sampling"):
        named("lr:samplin", known)
    with pytest.raises(UserError, match="none has been run"):
        named("lr", [])


def test_a_name_stands_for_one_set_of_settings(tmp_path):
    remember(experiment(called="lr", changed=("train.learning_rate=0.0002",)), tmp_path)
    same = experiment("sampling", called="lr", changed=("train.learning_rate=0.0002",))
    check_name_is_free(same, tmp_path)
    other = experiment(called="lr", changed=("train.learning_rate=0.0004",))
    with pytest.raises(
        UserError, match=r"0\.0002, and this one has .*0\.0004; give another --name"
    ):
        check_name_is_free(other, tmp_path)
    check_name_is_free(replace(other, own=False), tmp_path)


@pytest.mark.parametrize("name", ["", "a b", "../x", ".x", "a/b", "ä", "x" * (LONGEST + 1), "all"])
def test_what_cannot_be_a_folder_or_is_taken_is_no_name(name):
    with pytest.raises(UserError, match=r"^--name "):
        checked_name(name, "--name", ["all"])
    assert checked_name("lr2e-4_b.1", "--name") == "lr2e-4_b.1"


def test_automatic_names_are_folders_and_differ_where_their_texts_do():
    name = automatic_name(["lambda_hard", "train.learning_rate=0.0002"])
    assert name == "lambda_hard_train.learning_rate_0.0002"
    long = [automatic_name(["x" * 100, f"micro.keep={k}"]) for k in (1, 2)]
    assert long[0] != long[1] and all(checked_name(x, "name") for x in long)


def test_a_value_has_one_spelling_and_a_path_is_not_told():
    assert words("a.b", 2e-4) == words("a.b", 0.0002) == "a.b=0.0002"
    assert words("a.b", True) == "a.b=true" and words("a.b", (1.0, 0.5)) == "a.b=1,0.5"
    assert words("model.pipeline", "/home/me/models/wan/") == "model.pipeline=wan"
    assert words("model.pipeline", "owner/name") == "model.pipeline=owner/name"


def test_reports_of_its_own_are_beside_those_of_the_package(tmp_path):
    own = experiment(called="lr")
    assert own.target(tmp_path) == tmp_path / "reports/tiny/lr"
    assert replace(own, own=False).target(tmp_path) == tmp_path / "reports/tiny"
    large = replace(own, base=with_values(BASE, {"profile": "large"}))
    assert large.target(tmp_path) == tmp_path / "reports/large/lr"
