"""The command line end to end, on stand-in stages (`fake.py`), with kills at random moments."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import fake
import pytest
from programs import FAKE, ROOT, SMALL, begun, children, environment, stamps, sweep, tables, until

from direct.common.errors import UserError
from direct.profiles import profile
from direct.settings import override
from sweeps import run
from sweeps import tables as tables_of_sweeps
from sweeps.ablations import ABLATIONS
from sweeps.experiments import Experiment, remember
from sweeps.queue import storage
from sweeps.schema import cells


@pytest.mark.slow
def test_a_sweep_leaves_its_table_in_every_format(finished):
    out, done = finished
    formats = ("md", "tex", "csv", "html", "svg", "json")
    papers = {f"table_s3_{width}.{x}" for width in ("page", "column") for x in ("pdf", "svg")}
    assert set(tables(out)) == {f"table_s3.{x}" for x in formats} | papers
    assert "8 of 8 cells to do" in done.stdout and "this run took" in done.stdout
    assert b"2 training seeds" in tables(out)["table_s3.md"]


@pytest.mark.slow
def test_a_second_run_only_renders(finished):
    """Nothing that trains, generates, judges or queues is even imported; results stay untouched."""
    out, _ = finished
    before, log = (tables(out), stamps(out)), (out / "cache/tiny/executed.log").read_text()
    code = (
        "import sys; from dataclasses import replace; import fake; from sweeps import run\n"
        "def called(*arguments): raise AssertionError('a cell was executed again')\n"
        "stages = replace(fake.STAGES, prepare=called, train=called, judge=called)\n"
        "status = run.main(['lambda_hard', *sys.argv[1:]], stages)\n"
        "work = {'torch', 'optuna', 'diffusers', 'transformers', 'direct.train.loop', "
        "'direct.evaluate.clips', 'direct.evaluate.judge', 'sweeps.queue.pool', "
        "'sweeps.queue.dashboard'}\n"
        "assert not work & set(sys.modules), work & set(sys.modules)\n"
        "sys.exit(status)"
    )
    again = subprocess.run(
        [sys.executable, "-c", code, *SMALL, "--out", str(out)],
        text=True,
        capture_output=True,
        env=environment(PYTHONPATH=f"{ROOT}{os.pathsep}{Path(__file__).parent}"),
        check=False,
    )
    assert again.returncode == 0, again.stdout + again.stderr
    assert "table_s3.md" in again.stdout and "to do" not in again.stdout
    assert (tables(out), stamps(out)) == before
    assert (out / "cache/tiny/executed.log").read_text() == log


@pytest.mark.slow
def test_all_runs_every_sweep_and_shared_cells_once(tmp_path):
    """Then export, import elsewhere and report there: the same tables, claims and page."""

    def command(name, *more, out=tmp_path):
        return subprocess.run(
            [*FAKE[:2], name, *more, "--prompts", "4", "--seeds", "0", "--out", str(out)],
            capture_output=True,
            text=True,
            check=False,
            env=environment(),
            timeout=600,
        )

    done = command("all")
    assert done.returncode == 0, done.stdout + done.stderr
    base = override(profile("tiny"), "evaluate.prompts=4")
    tables = [table for table in ABLATIONS.values() if not table.extra]
    ids = {cell.id for table in tables for cell in cells(table, base, (0,))}
    executed = (tmp_path / "cache/tiny/executed.log").read_text().split()
    assert Counter(executed) == Counter(ids), "every cell once"
    trials = storage.open_study(tmp_path / "runs/tiny", "all").trials
    assert Counter(trial.user_attrs["cell"] for trial in trials) == Counter(ids), "one queue"
    names = {path.name for path in (tmp_path / "reports/tiny").iterdir()}
    written = [  # what is complete, also by cells of others; stand-ins measure nothing
        table
        for table in ABLATIONS.values()
        if not table.measured and {cell.id for cell in cells(table, base, (0,))} <= ids
    ]
    assert {"claims.md", "index.html", "main.tex"} <= names
    assert len(names) == 3 + 10 * len(written)
    checked = command("fsck")
    assert checked.returncode == 0 and "0 wrong" in checked.stdout
    archive, there = tmp_path / "results.tar.gz", tmp_path / "there"
    exported = command("export", str(archive))
    assert f"{len(ids)} results and {len(tables)} experiments exported" in exported.stdout, (
        exported.stderr
    )
    assert "results imported" in command("import", str(archive), out=there).stdout
    assert command("report", out=there).returncode == 0
    for path in (tmp_path / "reports/tiny").iterdir():
        assert (there / "reports/tiny" / path.name).read_bytes() == path.read_bytes()
    assert command("import", out=there).returncode == 2


@pytest.mark.slow
def test_rendering_imports_no_torch(finished, tmp_path):
    out = shutil.copytree(finished[0], tmp_path / "copy")  # the real stages call its results old
    code = (
        "import sys; from sweeps import run; "
        "run.main(['report', '--prompts', '4', '--seeds', '0,1', '--out', sys.argv[1]]); "
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(out)],
        check=True,
        text=True,
        env=environment(),
        capture_output=True,
    )
    assert "table_s3.md" in done.stdout and "table_1" not in done.stdout


@pytest.mark.slow
def test_a_report_leaves_tables_that_have_no_results_here(finished, tmp_path):
    """A clone holds tables of results that are elsewhere: they, and the page of all, stay."""
    out, target = tmp_path / "here", tmp_path / "here/reports/tiny"
    shutil.copytree(finished[0], out)
    for name in ("table_1.md", "table_1.csv", "claims.md", "index.html", "table_s3.md"):
        (target / name).write_text("of another machine\n")
    assert run.main(["report", *SMALL, "--out", str(out)], fake.STAGES) == 0
    stayed = {p.name for p in target.iterdir() if p.read_bytes() == b"of another machine\n"}
    assert stayed == {"table_1.md", "table_1.csv", "claims.md", "index.html"}
    assert tables(out)["table_s3.md"] == tables(finished[0])["table_s3.md"]


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_and_the_table_is_the_same(finished, tmp_path):
    """kill -9 of the planner, of a worker, of both; every cell is published once."""
    rng = random.Random(0)
    for round_ in range(5):
        process = subprocess.Popen(
            [*FAKE, *SMALL, "--out", str(tmp_path), "--workers", "2"],
            env=environment(FAKE_SECONDS="0.4"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        before = begun(tmp_path)
        while round_ and begun(tmp_path) == before and process.poll() is None:
            time.sleep(0.02)  # however long it starts; the first round may be killed while it does
        time.sleep(0.8 * rng.random())
        workers = sorted(children(process))
        if round_ % 3 != 0 and workers:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(rng.choice(workers), signal.SIGKILL)
        if round_ % 3 != 1:
            process.kill()
        else:
            time.sleep(0.5)
            process.kill()
        process.wait()
    last = sweep(tmp_path)
    assert last.returncode == 0, last.stdout + last.stderr
    assert tables(tmp_path) == tables(finished[0])
    runs = list((tmp_path / "runs/tiny").glob("*/result.json"))
    assert len(runs) == 8
    trials = storage.open_study(tmp_path / "runs/tiny", "lambda_hard").get_trials(deepcopy=False)
    complete = [t.user_attrs["cell"] for t in trials if t.state.name == "COMPLETE"]
    assert Counter(complete) == Counter(path.parent.name for path in runs)


@pytest.mark.slow
def test_a_failed_cell_says_why_and_a_diverged_one_is_a_row(tmp_path):
    done = sweep(tmp_path, "--seeds", "0", FAKE_FAIL="0.1", FAKE_DIVERGE="0.005")
    assert done.returncode == 1 and "RuntimeError: made to fail" in done.stdout
    table = tables(tmp_path)["table_s3.md"].decode()
    assert "†: 0.005 diverged in 1 of 1 runs (diverged at step 17: loss was nan 10 times)" in table
    status = subprocess.run(
        [*FAKE[:2], "status", "--prompts", "4", "--seeds", "0", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment(),
        check=True,
    ).stdout
    assert "1 diverged" in status and "1 failed" in status and "2 done" in status
    executed = (tmp_path / "cache/tiny/executed.log").read_text()
    left = sweep(tmp_path, "--seeds", "0")  # what failed by itself is not run again unasked
    assert left.returncode == 1 and "made to fail (--retry-failed runs it again)" in left.stdout
    assert (tmp_path / "cache/tiny/executed.log").read_text() == executed
    again = sweep(tmp_path, "--seeds", "0", "--retry-failed")
    assert again.returncode == 0 and "1 of 4 cells to do" in again.stdout
    new = (tmp_path / "cache/tiny/executed.log").read_text().removeprefix(executed).split()
    assert len(new) == 1, "the failed cell alone: a diverged one is a result"


def _heeds_ctrl_c():
    """Tests that a shell runs in the background inherit that SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
def test_ctrl_c_is_clean(tmp_path):
    process = subprocess.Popen(
        [*FAKE, *SMALL, "--out", str(tmp_path)],
        text=True,
        env=environment(FAKE_SECONDS="3600"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=_heeds_ctrl_c,
    )
    until(lambda: begun(tmp_path), "a cell begins", process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130 and "interrupted" in err and "Traceback" not in out + err
    assert not (tmp_path / "reports").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lamda_hard"], "did you mean lambda_hard"),
        (["statsu"], "did you mean status"),
        (["lambda_hard", "--set", "loss.lambda_had=1"], "did you mean lambda_hard"),
        (["lambda_hard", "--set", "loss.lambda_hard"], "has no '='"),
        (["lambda_hard", "--set", "loss.lambda_anc=-1"], "is negative"),
        (["lambda_hard", "--set", "loss.lambda_hard=3"], "not convex"),
        (["lambda_hard", "--set", "macro.clusters=1"], "macro.clusters=1"),
        (["lambda_hard", "--profile", "tinny"], "did you mean tiny"),
        (["lambda_hard", "--seeds", "0,0"], "repeats a seed"),
        (["lambda_hard", "--seeds", "a"], "0,1,2"),
        (["lambda_hard", "--prompts", "0"], "--prompts 0 is not a positive integer"),
        (["lambda_hard", "--workers", "0"], "1 or more"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(arguments, said):
    done = subprocess.run(
        [sys.executable, "-m", "sweeps.run", *arguments, "--dry-run"],
        text=True,
        capture_output=True,
        env=environment(),
        check=False,
    )
    assert done.returncode == 2
    assert said in done.stderr and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr


@pytest.mark.slow
def test_help_is_quick_and_imports_nothing_heavy():
    code = (
        "import sys; from sweeps import run\n"
        "try: run.main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'pandas', 'optuna', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, env=environment(), stdout=subprocess.DEVNULL
    )


def test_clips_of_an_experiment_lie_beside_its_table(tmp_path, monkeypatch, capsys):
    base = override(profile("tiny"), "evaluate.prompts=4", "train.learning_rate=6e-4")
    table = replace(ABLATIONS["lambda_hard"], changed=("train.learning_rate=0.0006",))
    noted = Experiment("mine", table, tuple(cells(table, base, (0,))), base)
    remember(noted, tmp_path / "runs/tiny")
    monkeypatch.setattr(run.arms, "gather", lambda table, root, cache: {"rows": len(table.lines)})
    assert run.main(["gallery", "mine", "--out", str(tmp_path)]) == 0
    path = tmp_path / "reports/tiny/mine/table_s3_clips.json"
    assert capsys.readouterr().out.splitlines()[0] == str(path)
    assert json.loads(path.read_text())["rows"] == len(table.rows)
    with pytest.raises(UserError, match="mne is not an experiment that was run here"):
        run.main(["gallery", "mne", "--out", str(tmp_path)])


@pytest.fixture
def built(monkeypatch):
    """How often Table S3 was built, by its number of seeds."""
    count, build = Counter(), tables_of_sweeps.build

    def counted(ablation, planned, *more):
        if ablation.name == "lambda_hard":
            count[len({cell.config.seed for cell in planned})] += 1
        return build(ablation, planned, *more)

    monkeypatch.setattr(tables_of_sweeps, "build", counted)
    return count


@pytest.mark.slow
def test_seeds_are_added_until_all_is_decided_and_a_rerun_spends_nothing(tmp_path, capsys, built):
    asked = ["lambda_hard", "--until-decided", "--max-seeds", "4", "--prompts", "6"]
    asked += ["--out", str(tmp_path)]
    assert run.main(asked, fake.STAGES) == 0
    said, log = capsys.readouterr().out, (tmp_path / "cache/tiny/executed.log").read_text()
    assert "look 1 of 2, 3 seeds: " in said and "cells of at most 16 with 4 seeds" in said
    plan = json.loads((tmp_path / "runs/tiny/experiments/lambda_hard/lambda_hard.json").read_text())
    assert plan["table"]["rounds"] == [3, 4]
    before = tables(tmp_path)
    assert b"looks at 3, 4 seeds were planned before any result" in before["table_s3.md"]
    assert built == {3: 2, 4: 1}, "the table of each look once, and its first look's again"
    assert run.main(asked, fake.STAGES) == 0
    assert tables(tmp_path) == before
    assert (tmp_path / "cache/tiny/executed.log").read_text() == log, "no cell ran again"
    with pytest.raises(UserError, match=r"was begun with --until-decided --max-seeds 4"):
        run.main([*asked[:3], "9", *asked[4:]], fake.STAGES)
    with pytest.raises(UserError, match=r"and this asks for fixed seeds"):
        run.main(["lambda_hard", "--seeds", "0", *asked[4:]], fake.STAGES)


@pytest.mark.parametrize("place", ["reports", "reports/tiny", "cache", "runs/tiny/queue"])
@pytest.mark.parametrize("arguments", [["lambda_hard"], ["lambda_hard", "--dry-run"], ["search"]])
def test_a_place_that_cannot_be_written_is_refused_before_any_work(tmp_path, place, arguments):
    """Also that of the tables, which are written last."""
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).touch()
    worked = replace(fake.STAGES, prepare=lambda runs: pytest.fail("it has begun"))
    with pytest.raises(UserError, match=f"--out: {tmp_path / place} is no folder that may be"):
        run.main([*arguments, *SMALL, "--out", str(tmp_path)], worked)


def test_to_check_nothing_is_no_success(tmp_path):
    with pytest.raises(UserError, match="holds anything to check; give another --out"):
        run.main(["fsck", "--out", str(tmp_path / "mistyped")])
