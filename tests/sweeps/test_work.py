"""Old results: never shown as new, never mixed, and never lost without being asked."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAKE = [sys.executable, str(Path(__file__).with_name("fake.py")), "lambda_hard"]


def sweep(out, *arguments, **more):
    return subprocess.run(
        [*FAKE, "--prompts", "4", "--seeds", "0", "--out", str(out), *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | more,
        timeout=300,
        check=False,
    )


def executed(out):
    return (out / "cache/tiny/executed.log").read_text().split()


@pytest.fixture
def finished(tmp_path):
    assert sweep(tmp_path, FAKE_CODE="old").returncode == 0
    assert len(executed(tmp_path)) == 4
    return tmp_path


def bytes_of(out):
    return {path: path.read_bytes() for path in sorted(out.glob("runs/tiny/*/result.json"))}


def test_results_of_other_code_are_refused_before_anything_runs(finished):
    before = bytes_of(finished)
    table = (finished / "reports/tiny/table_s3.md").read_bytes()
    done = sweep(finished, "--seeds", "0,1", FAKE_CODE="new")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "4 of 4 finished cells were made by other code (direct.fake)" in done.stderr
    assert "--accept-old" in done.stderr and "--rerun" in done.stderr
    assert bytes_of(finished) == before and len(executed(finished)) == 4
    assert (finished / "reports/tiny/table_s3.md").read_bytes() == table


def test_accepted_old_results_are_used_and_the_table_says_so(finished):
    before = bytes_of(finished)
    assert "Old results" not in (finished / "reports/tiny/table_s3.md").read_text()
    done = sweep(finished, "--seeds", "0,1", "--accept-old", FAKE_CODE="new")
    assert done.returncode == 0, done.stderr
    assert "they are used, and the tables say so" in done.stdout
    assert len(executed(finished)) == 8 and before.items() <= bytes_of(finished).items()
    text = (finished / "reports/tiny/table_s3.md").read_text()
    assert "Old results: 4 of 8 cells were made by other code" in text and "direct.fake" in text


def test_rerun_makes_old_results_again_and_leaves_new_ones(finished):
    assert sweep(finished, "--seeds", "0,1", "--accept-old", FAKE_CODE="new").returncode == 0
    new = {path: data for path, data in bytes_of(finished).items() if b'"new"' in data}
    done = sweep(finished, "--seeds", "0,1", "--rerun", FAKE_CODE="new")
    assert done.returncode == 0 and "they are made again" in done.stdout
    assert len(executed(finished)) == 12 and new.items() <= bytes_of(finished).items()
    codes = [json.loads(data)["code"] for data in bytes_of(finished).values()]
    assert codes == [{"direct.fake": "new"}] * 8
    assert "Old results" not in (finished / "reports/tiny/table_s3.md").read_text()
    again = sweep(finished, "--seeds", "0,1", "--rerun", FAKE_CODE="new")
    assert again.returncode == 0 and len(executed(finished)) == 12, "nothing is old any more"


def test_a_result_that_names_no_code_is_old(finished):
    from direct.common.files import digest

    path = next(finished.glob("runs/tiny/*/result.json"))
    result = json.loads(path.read_text())
    del result["code"], result["checksum"]
    path.write_text(json.dumps(result | {"checksum": digest(result, 64)}))
    done = sweep(finished, FAKE_CODE="old")
    assert done.returncode == 2
    assert "1 of 4 finished cells were made by other code (code that was not noted)" in done.stderr


def test_the_two_answers_exclude_each_other(tmp_path):
    done = sweep(tmp_path, "--accept-old", "--rerun")
    assert done.returncode == 2 and "mutually exclusive" in done.stderr
    assert not (tmp_path / "runs").exists()
