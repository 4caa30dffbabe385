"""What is there and what is to do, in words."""

from dataclasses import replace

import fake
import pytest
from programs import SMALL
from queued import CELLS, STAGES

from direct.common.files import write_json
from direct.config import Run
from direct.profiles import profile
from direct.settings import override
from sweeps import run
from sweeps.ablations import ABLATIONS
from sweeps.cell import run_cell
from sweeps.experiments import Experiment
from sweeps.queue import leases, status
from sweeps.queue.sweep import Sweep, Workers
from sweeps.schema import cells

BASE = override(profile("tiny"), "evaluate.prompts=4")

TABLE = ABLATIONS["lambda_hard"]

EVIL = "prompt '\x1b]0;owned\x07\x1b[2J\u202egnp.exe\nerror: all is well' is too long"


def test_a_recorded_failure_is_shown_without_control_characters(tmp_path):
    cell = cells(TABLE, BASE, (0,))[0]
    write_json(tmp_path / cell.id / "failure.json", {"reason": EVIL})
    shown = status.state(cell, tmp_path)
    assert shown.startswith("failed: ") and not set("\x1b\x07\u202e\n") & set(shown)
    assert status.failures([cell], tmp_path) == {cell.id: EVIL}


@pytest.mark.slow
def test_dry_run_lists_cells_states_and_costs(finished, capsys, tmp_path):
    run.main(["lambda_hard", "--dry-run", *SMALL, "--out", str(finished[0])], fake.STAGES)
    listing = capsys.readouterr().out
    assert listing.count("done") == 8 and "0 of 8 cells to do" in listing
    assert "by recorded timings" in listing
    run.main(["lambda_hard", "--dry-run", "--out", str(tmp_path), "--profile", "wan2.1-t2v-1.3b"])
    listing = capsys.readouterr().out
    assert "20 of 20 cells to do" in listing and "800 GPU-hours" in listing
    assert not list(tmp_path.iterdir()), "a dry run writes nothing"


def test_a_long_row_leaves_room_for_its_seed(capsys, tmp_path):
    run.main(["control", "--dry-run", "--seeds", "7", "--out", str(tmp_path)], fake.STAGES)
    _, heads, *rows = capsys.readouterr().out.splitlines()
    seed = heads.index("seed")
    assert [row[seed - 2 : seed + 2] for row in rows[:3]] == ["  7 "] * 3


def test_the_states_of_a_cell_from_what_its_folder_holds(tmp_path):
    cell = CELLS[0]
    run = tmp_path / cell.id
    assert status.state(cell, tmp_path) == "open"
    write_json(run / "timing.json", {})
    assert status.state(cell, tmp_path) == "begun"
    write_json(run / "failure.json", {"reason": "no clip"})
    assert status.state(cell, tmp_path) == "failed: no clip"
    token = leases.take(run)
    assert status.state(cell, tmp_path) == "running"
    leases.drop(run, token)
    run_cell(Run(cell.config, tmp_path, run), STAGES)
    assert status.state(cell, tmp_path) == "done" and status.failures([cell], tmp_path) == {}


def test_a_line_counts_states_and_a_failures_reason_stays_out_of_it(tmp_path):
    write_json(tmp_path / CELLS[1].id / "failure.json", {"reason": "no: clip"})
    line = status.state_line(experiment(), tmp_path)
    assert line.endswith(f"{len(CELLS)} cells: {len(CELLS) - 1} open, 1 failed")
    assert line.startswith("lambda_hard") and "Table S3" in line
    variant = experiment(changed=("train.steps=7",))
    assert status.state_line(variant, tmp_path).endswith("1 failed; train.steps=7")


def experiment(changed=(), own=False):
    table = replace(TABLE, changed=changed)
    return Experiment("lambda_hard", table, tuple(CELLS), CELLS[0].config, own)


def test_an_entry_has_size_settings_state_and_the_tables_place(tmp_path):
    own = experiment(("train.steps=7",), own=True)
    path = tmp_path / "reports/tiny/lambda_hard/table_s3.md"
    lines = status.entry(own, tmp_path / "runs/tiny", tmp_path).splitlines()
    assert lines[0].startswith("lambda_hard: ") and lines[0].endswith("(Table S3)")
    assert lines[1:] == [
        "  size      4 rows, seeds 0, 1, 2 prompts",
        "  settings  train.steps=7",
        "  state     8 cells: 8 open",
        "  table     not written yet; report lambda_hard",
    ]
    path.parent.mkdir(parents=True)
    path.touch()
    assert str(path) in status.entry(own, tmp_path / "runs/tiny", tmp_path)
    assert "those of profile tiny" in status.entry(experiment(), tmp_path, tmp_path)


def test_failures_are_told_with_the_way_out_and_a_status(capsys):
    cell = cells(TABLE, BASE, (3,))[0]
    assert status.told({}, [cell]) == 0 and capsys.readouterr().out == ""
    assert status.told({cell.id: "no\x1b clip"}, [cell]) == 1
    said = f"failed: {cell.row}, seed 3 ({cell.id}): no  clip (--retry-failed runs it again)\n"
    assert capsys.readouterr().out == said


def test_the_papers_profile_is_told_what_hard_negatives_cost(tmp_path):
    """clips x kept negatives x 85 s, in hours; the tiny profile has nothing to be told."""
    base = override(profile("wan2.1-t2v-1.3b"), "data.clips=1000", "micro.keep=3")
    for config, expected in (
        (base, ["hard negatives: up to 3,000 clips, 71 GPU-hours, rendered once"]),
        (
            override(base, "hard_sample.steps=20"),  # of 50
            ["hard negatives: up to 3,000 clips, 28 GPU-hours, rendered once"],
        ),
        (override(base, "train.steps=0"), []),
        (override(base, "measure.kind=cost"), []),
        (profile("tiny"), []),
    ):
        planned = cells(TABLE, config, (0,))
        sweep = Sweep(TABLE, planned, tmp_path, tmp_path, Workers(2))
        lines = status.listing(sweep).splitlines()
        summary, *rest = lines[2 + len(planned) :]
        assert summary.startswith(f"{len(planned)} of {len(planned)} cells to do")
        assert "with 2 workers, by default (" in summary and rest == expected
