"""From a command to its folders, on stand-in stages in this process: runs, status, list, report."""

from dataclasses import asdict, replace
from pathlib import Path

import fake
import pytest

from direct.common.errors import UserError
from direct.config import Run
from direct.plugins import registry
from sweeps import planning, run
from sweeps.ablations import ABLATIONS
from sweeps.cell import read_result, run_cell, write_config

SMALL = ["--seeds", "0", "--prompts", "4"]
EXAMPLE = str(Path(__file__).parents[2] / "examples/own_table.py")
STAGES = replace(fake.STAGES, train=lambda run: None)


def at_once(sweep):
    """`work`, without workers."""
    for cell in sweep.cells:
        place = sweep.root / cell.id
        if not read_result(place):
            write_config(place, asdict(cell.config))
            run_cell(Run(cell.config, sweep.cache, place), sweep.stages)
    return {}


@pytest.fixture
def go(tmp_path, monkeypatch, capsys):
    """A command line below `tmp_path`; returns what it said."""
    monkeypatch.setattr(run, "work", at_once)

    def command(*arguments):
        capsys.readouterr()
        assert run.main([*arguments, "--out", str(tmp_path)], STAGES) == 0
        return capsys.readouterr().out

    return command


def files(out):
    """Every report's bytes, by its path."""
    root = out / "reports/tiny"
    found = [path for path in root.rglob("*") if path.is_file()]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}


@pytest.mark.slow
def test_variants_grids_and_files_have_folders_of_their_own(go, tmp_path):
    go("lambda_hard", *SMALL)
    shipped = files(tmp_path)
    assert all("/" not in name for name in shipped)
    go("lambda_hard", *SMALL, "--set", "train.learning_rate=2e-4", "--name", "lr2e-4")
    go("--grid", "loss.lambda_rand=0,0.005", "--grid", "sample.guidance=1,3", *SMALL)
    go(EXAMPLE, *SMALL)
    found = files(tmp_path)
    assert {name: found[name] for name in shipped} == shipped, "what the package has stays"
    folders = {name.split("/")[0] for name in found if "/" in name}
    grid = "loss.lambda_rand_0_0.005_sample.guidance_1_3"
    assert folders == {"lr2e-4", grid, "own_table"}
    text = found["lr2e-4/table_s3.md"].decode()
    assert "Changed from the profile: train.learning\\_rate=0.0002." in text
    assert "Changed" not in shipped["table_s3.md"].decode()
    assert "0.005, 3" in found[f"{grid}/grid.md"].decode()
    assert "faster, no anchor" in found["own_table/anchor.md"].decode()

    status = go("status")  # no option is repeated
    for name in ("lambda_hard", "lr2e-4", grid, "own_table"):
        (line,) = [line for line in status.splitlines() if line.split()[0] == name]
        assert " open" not in line and "4 done" in line
    listed = go("list")
    assert listed.count("4 done") == 4 and "train.learning_rate=0.0002" in listed
    assert str(tmp_path / "reports/tiny/own_table/anchor.md") in listed

    for path in (tmp_path / "reports/tiny").rglob("*.md"):
        path.unlink()
    assert str(tmp_path / "reports/tiny/lr2e-4/table_s3.md") in go("report", "lr2e-4")
    assert [name for name in files(tmp_path) if name.endswith(".md")] == ["lr2e-4/table_s3.md"]
    go("report")
    again = files(tmp_path)
    assert {name: again[name] for name in found} == found
    assert set(again) - set(found) == {"claims.md", "index.html", "main.tex"}


@pytest.mark.slow
def test_all_with_other_settings_has_one_folder_with_claims_and_page(go, tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "ABLATIONS", {"lambda_hard": ABLATIONS["lambda_hard"]})
    said = go("all", *SMALL, "--set", "train.learning_rate=2e-4")
    found = files(tmp_path)
    assert {name.split("/")[0] for name in found} == {"all_train.learning_rate_0.0002"}
    names = {name.split("/")[1] for name in found}
    assert {"table_s3.md", "claims.md", "index.html"} <= names, said
    assert "all_train.learning_rate_0.0002: " in go("list")


@pytest.mark.slow
def test_a_files_tables_share_a_folder_and_a_cell_runs_once(go, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from sweeps import Ablation, Row\n"
        "rows = (Row('x'), Row('y', {'loss.lambda_hard': 0.1}))\n"
        "a, b = (Ablation(name, rows=rows) for name in 'ab')\n"
    )
    assert "counted once: 2 of 2 cells to do" in go(str(path), *SMALL, "--dry-run")
    go(str(path), *SMALL)
    found = files(tmp_path)
    assert {"mine/a.md", "mine/b.md"} <= set(found)
    (tmp_path / "reports/tiny/mine/b.md").unlink()
    said = go("report", "mine:b")
    assert "mine/b.md" in said and "mine/a.md" not in said


def test_a_dry_run_writes_nothing_and_refuses_what_a_run_would(go, tmp_path):
    said = go(EXAMPLE, *SMALL, "--dry-run")
    assert "4 of 4 cells to do" in said and "faster, no anchor" in said
    assert go("--grid", "macro.clusters=8,16", *SMALL, "--dry-run").count("open") == 2
    with pytest.raises(UserError, match="cannot change a result"):
        go("--grid", "train.checkpoint_every=7,8", *SMALL, "--dry-run")
    with pytest.raises(UserError, match="--gpus-per-cell 9 with 1 worker needs 9 GPUs"):
        go("lambda_hard", *SMALL, "--dry-run", "--gpus-per-cell", "9")
    assert not list(tmp_path.iterdir())


def test_a_report_takes_names_and_no_settings(go):
    with pytest.raises(UserError, match=r"report takes no --set train\.steps=7"):
        go("report", "--set", "train.steps=7")
    with pytest.raises(UserError, match="lambda_hrd is not an experiment"):
        go("report", "lambda_hrd")
    assert "no experiment has been run" in go("list")


EYE = """from direct import plugins
from sweeps import Ablation, Row
@plugins.judge(sharp=plugins.Score("sharpness", scale=10, decimals=1))
def eye(): ...
T = Ablation("t", rows=(Row("x"), Row("y", {"train.steps": 3})), common={"evaluate.judge": "eye"})
"""


@pytest.mark.slow
def test_a_judge_that_is_gone_is_reported_as_it_was_noted(tmp_path, monkeypatch, capsys, plugged):
    def sharp(run):
        return [x | {"scores": {"sharp": x["scores"]["PC"]}} for x in fake.judge(run)]

    monkeypatch.setattr(run, "work", at_once)
    path, stages = tmp_path / "mine.py", replace(STAGES, judge=sharp)
    path.write_text(EYE)
    assert run.main([str(path), *SMALL, "--out", str(tmp_path)], stages) == 0
    before = files(tmp_path)
    assert "sharpness" in before["mine/t.md"].decode()
    registry._entries.clear()
    path.unlink()
    (tmp_path / "reports/tiny/mine/t.md").unlink()
    assert run.main(["report", "--out", str(tmp_path)], stages) == 0
    assert files(tmp_path)["mine/t.md"] == before["mine/t.md"]


def test_where_no_row_has_a_score_no_table_is_written_and_it_is_said(go):
    said = go("report", "lambda_hard")
    assert said == "lambda_hard: no table is written, since no row has a score yet\n"
