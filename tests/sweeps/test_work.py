"""Old results: never shown as new, never mixed, and never lost without being asked."""

import json
import shutil

import programs
import pytest
from programs import executed, stamps

from sweeps.work import _where_time_went


def sweep(out, *arguments, **more):
    return programs.sweep(out, "--seeds", "0", *arguments, **more)


@pytest.fixture
def old(tmp_path):
    assert sweep(tmp_path, FAKE_CODE="old").returncode == 0
    assert len(executed(tmp_path)) == 4
    return tmp_path


def bytes_of(out):
    return {path: path.read_bytes() for path in sorted(out.glob("runs/tiny/*/result.json"))}


def test_results_of_other_code_are_refused_before_anything_runs(old):
    before = bytes_of(old)
    table = (old / "reports/tiny/table_s3.md").read_bytes()
    done = sweep(old, "--seeds", "0,1", FAKE_CODE="new")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "4 of 4 finished cells were made by other code (direct.fake)" in done.stderr
    assert "--accept-old" in done.stderr and "--rerun" in done.stderr
    assert bytes_of(old) == before and len(executed(old)) == 4
    assert (old / "reports/tiny/table_s3.md").read_bytes() == table


def test_accepted_old_results_are_used_and_the_table_says_so(old):
    before = bytes_of(old)
    assert "Old results" not in (old / "reports/tiny/table_s3.md").read_text()
    done = sweep(old, "--seeds", "0,1", "--accept-old", FAKE_CODE="new")
    assert done.returncode == 0, done.stderr
    assert "they are used, and the tables say so" in done.stdout
    assert len(executed(old)) == 8 and before.items() <= bytes_of(old).items()
    text = (old / "reports/tiny/table_s3.md").read_text()
    assert "Old results: 4 of 8 cells were made by other code" in text and "direct.fake" in text


def test_rerun_makes_old_results_again_and_leaves_new_ones(old):
    assert sweep(old, "--seeds", "0,1", "--accept-old", FAKE_CODE="new").returncode == 0
    new = {path: data for path, data in bytes_of(old).items() if b'"new"' in data}
    done = sweep(old, "--seeds", "0,1", "--rerun", FAKE_CODE="new")
    assert done.returncode == 0 and "they are made again" in done.stdout
    assert len(executed(old)) == 12 and new.items() <= bytes_of(old).items()
    codes = [json.loads(data)["code"] for data in bytes_of(old).values()]
    assert codes == [{"direct.fake": "new"}] * 8
    assert "Old results" not in (old / "reports/tiny/table_s3.md").read_text()
    again = sweep(old, "--seeds", "0,1", "--rerun", FAKE_CODE="new")
    assert again.returncode == 0 and len(executed(old)) == 12, "nothing is old any more"


def test_a_result_that_names_no_code_is_old(old):
    from direct.common.files import digest

    path = next(old.glob("runs/tiny/*/result.json"))
    result = json.loads(path.read_text())
    del result["code"], result["checksum"]
    path.write_text(json.dumps(result | {"checksum": digest(result, 64)}))
    done = sweep(old, FAKE_CODE="old")
    assert done.returncode == 2
    assert "1 of 4 finished cells were made by other code (code that was not noted)" in done.stderr


def test_the_two_answers_exclude_each_other(tmp_path):
    done = sweep(tmp_path, "--accept-old", "--rerun")
    assert done.returncode == 2 and "mutually exclusive" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_results_of_another_base_model_are_not_added_to(finished, tmp_path):
    """Rendering them is fine, and so is a folder of one's own; nothing is removed or written."""
    out = tmp_path / "copy"
    shutil.copytree(finished[0], out)
    assert programs.sweep(out, FAKE_WEIGHTS="w1").returncode == 0
    victim = sorted((out / "runs/tiny").glob("*/result.json"))[0]
    victim.unlink()
    before = stamps(out)
    refused = programs.sweep(out, FAKE_WEIGHTS="w1")
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    assert "weights w0, now w1" in refused.stderr and "--out" in refused.stderr
    assert stamps(out) == before
    assert programs.sweep(out).returncode == 0 and victim.exists()


def test_shares_of_a_run_add_up():
    line = _where_time_went(100.0, 10.0, {"train": 100.0, "generate": 60.0, "judge": 0.0}, 2)
    assert "train 50 s (50 %)" in line and "other 10 s (10 %)" in line
