"""What is there and what is to do, in words."""

from programs import SMALL

from direct.common.files import write_json
from direct.profiles import profile
from direct.settings import override
from sweeps import run
from sweeps.ablations import ABLATIONS
from sweeps.queue import status
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


def test_dry_run_lists_cells_states_and_costs(finished, capsys, tmp_path):
    run.main(["lambda_hard", "--dry-run", *SMALL, "--out", str(finished[0])])
    listing = capsys.readouterr().out
    assert listing.count("done") == 8 and "0 of 8 cells to do" in listing
    assert "by recorded timings" in listing
    run.main(["lambda_hard", "--dry-run", "--out", str(tmp_path), "--profile", "wan2.1-t2v-1.3b"])
    listing = capsys.readouterr().out
    assert "20 of 20 cells to do" in listing and "800 GPU-hours" in listing
    assert not list(tmp_path.iterdir()), "a dry run writes nothing"
