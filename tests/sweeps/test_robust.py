"""What goes wrong around a sweep: a full disk, clocks that jump, texts that a terminal obeys."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fake
import optuna
import pytest

from direct.common.errors import UserError, command
from direct.common.files import write_json
from direct.profiles import profile
from direct.settings import override
from sweeps.ablations import ABLATIONS
from sweeps.archive import fsck
from sweeps.cell import parse_result
from sweeps.queue import leases, status, storage
from sweeps.queue import study as queue
from sweeps.schema import Row, cells

ROOT = Path(__file__).resolve().parents[2]
TABLE = ABLATIONS["lambda_hard"]
BASE = override(profile("tiny"), "evaluate.prompts=4")

# In a mount namespace of its own: fills the disk once a result is there, then frees it again.
FULL_DISK = """
set -u
mount -t tmpfs -o size=8m tmpfs "$DISK" || exit 77
cd "$DISK"
( until ls runs/tiny/*/result.json >/dev/null 2>&1; do sleep 0.05; done
  head -c 9000000 /dev/zero >> ballast 2>/dev/null ) &
"$@" > "$OUT/first.log" 2>&1
echo $? > "$OUT/first.status"
cp -r runs "$OUT/first"
rm ballast
FAKE_SECONDS=0 "$@" --retry-failed > "$OUT/second.log" 2>&1
echo $? > "$OUT/second.status"
cp -r runs reports "$OUT"
"""


def test_a_full_disk_is_said_and_nothing_half_written_is_believed(tmp_path):
    disk, out = tmp_path / "disk", tmp_path / "out"
    disk.mkdir(), out.mkdir()
    arguments = [
        sys.executable,
        fake.__file__,
        "lambda_hard",
        "--prompts",
        "4",
        "--seeds",
        "0",
        "--workers",
        "1",
        "--out",
        ".",
    ]
    surroundings = os.environ | {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "FAKE_SECONDS": "2",
        "DISK": str(disk),
        "OUT": str(out),
    }
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "bash", "-c", FULL_DISK, "-", *arguments],
        env=surroundings,
        check=False,
    )
    if done.returncode in (1, 77) and not (out / "first.status").exists():
        pytest.skip("no file system of a test's own can be mounted here")
    first = (out / "first.log").read_text()
    assert (out / "first.status").read_text() != "0\n"
    assert "no space left" in first.lower() and "Traceback" not in first
    found = [(p.read_bytes(), p.parent.name) for p in (out / "first").glob("tiny/*/result.json")]
    assert 1 <= len(found) < 4 and all(parse_result(data, name) for data, name in found)
    assert (out / "second.status").read_text() == "0\n", (out / "second.log").read_text()
    checked, wrong = fsck(out / "runs/tiny", out / "cache")
    assert checked == 8 and not [line for line in wrong if "left by a kill" not in line]
    for data, name in found:  # kept as they were
        assert (out / "runs/tiny" / name / "result.json").read_bytes() == data
    assert "Incomplete" not in (out / "reports/tiny/table_s3.md").read_text()


# Clocks -------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(("seconds", "recent"), [(0, True), (-3600, False), (3600, False)])
def test_a_claim_is_recent_only_by_a_plausible_age(seconds, recent):
    started = datetime.now(UTC) - timedelta(seconds=seconds)
    trial = optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING)
    trial.datetime_start = started
    assert queue._just_claimed(trial) is recent


# The grid -----------------------------------------------------------------------------------------


def test_a_value_added_to_a_grid_is_all_that_is_new(tmp_path):
    study = storage.open_study(tmp_path, "s")
    queue.plan(study, TABLE, cells(TABLE, BASE, (0,)), tmp_path)
    before = [trial.user_attrs["cell"] for trial in study.trials]
    more = replace(TABLE, rows=(Row("0.01", {"loss.lambda_hard": 0.01}), *TABLE.rows))
    queue.plan(study, more, cells(more, BASE, (0,)), tmp_path)
    added = [trial.user_attrs for trial in study.trials[len(before) :]]
    assert [attributes["row"] for attributes in added] == ["0.01"]
    fewer = replace(TABLE, rows=TABLE.rows[1:])
    queue.plan(study, fewer, cells(fewer, BASE, (0,)), tmp_path)
    assert len(study.trials) == len(before) + 1, "one less: nothing to do"


# Texts --------------------------------------------------------------------------------------------

EVIL = "prompt '\x1b]0;owned\x07\x1b[2J\u202egnp.exe\nerror: all is well' is too long"


def test_an_error_is_one_line_that_no_terminal_obeys(capsys):
    def fail():
        raise UserError(EVIL)

    with pytest.raises(SystemExit) as stopped:
        command(fail)
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and said.count("\n") == 1
    assert not set("\x1b\x07\u202e") & set(said) and "is too long" in said


def test_a_recorded_failure_is_shown_without_control_characters(tmp_path):
    cell = cells(TABLE, BASE, (0,))[0]
    write_json(tmp_path / cell.id / "failure.json", {"reason": EVIL})
    shown = status.state(cell, tmp_path)
    assert shown.startswith("failed: ") and not set("\x1b\x07\u202e\n") & set(shown)
    assert status.failures([cell], tmp_path) == {cell.id: EVIL}
