"""What goes wrong around a sweep: a full disk, texts that a terminal obeys."""

import os
import subprocess
import sys

import fake
import pytest
from programs import ROOT

from direct.common.errors import UserError, command
from sweeps.archive import fsck
from sweeps.cell import parse_result

# In a mount namespace of its own: fills the disk when the first cell has a result and the
# others still wait, then frees it again.
FULL_DISK = """
set -u
mount -t tmpfs -o size=8m tmpfs "$DISK" || exit 77
cd "$DISK"
echo 1 > "$FAKE_GATE"
( until ls runs/tiny/*/result.json >/dev/null 2>&1; do sleep 0.05; done
  head -c 9000000 /dev/zero >> ballast 2>/dev/null
  echo 1000 > "$FAKE_GATE" ) &
"$@" > "$OUT/first.log" 2>&1
echo $? > "$OUT/first.status"
cp -r runs "$OUT/first"
rm ballast
"$@" --retry-failed > "$OUT/second.log" 2>&1
echo $? > "$OUT/second.status"
cp -r runs reports "$OUT"
"""


@pytest.mark.slow
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
        "FAKE_GATE": str(out / "gate"),
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


EVIL = "prompt '\x1b]0;owned\x07\x1b[2J\u202egnp.exe\nerror: all is well' is too long"


def test_an_error_is_one_line_that_no_terminal_obeys(capsys):
    def fail():
        raise UserError(EVIL)

    with pytest.raises(SystemExit) as stopped:
        command(fail)
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and said.count("\n") == 1
    assert not set("\x1b\x07\u202e") & set(said) and "is too long" in said
