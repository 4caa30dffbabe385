"""The acceptance on a GPU, rehearsed: its cheap parts, what it keeps, and what it calls short."""

from __future__ import annotations

import select
import signal
import subprocess
from types import SimpleNamespace

import pytest
import torch

from benchmarks.accept import correct, journal, run, several, summary, targets
from benchmarks.accept.__main__ import main
from benchmarks.accept.parts import PARTS, Part
from benchmarks.accept.place import Kernels, NotHere, Place
from direct.loss import native, reference

CHEAP = [name for name, part in PARTS.items() if part.cheap]


@pytest.mark.slow
@pytest.mark.parametrize("name", CHEAP)
def test_cheap_parts_run_on_a_cpu(name, tmp_path, monkeypatch):
    """Those that need an emulation, the interpreter or a sweep run in `--rehearse` alone."""
    monkeypatch.setattr(torch, "compile", lambda function: function)  # as run.REHEARSAL
    records = list(PARTS[name].run(Place(True, tmp_path)))
    readings = [record for record in records if "reading" in record]
    assert readings and all(record["value"] is not None for record in readings)
    checks = [r["value"] for r in readings if r["reading"] in ("agrees", "same bits")]
    assert all(checks)
    for record in records:
        journal.append(tmp_path / "all.jsonl", {"part": name, "state": "x"} | record)
    machine = {"name": "a CPU", "device": "cpu", "threads": 1, "torch": "2"}
    text = summary.markdown(journal.attempts(tmp_path / "all.jsonl", "x"), [name], machine, "x")
    assert "A rehearsal without a GPU" in text and f"| {name} | interrupted |" in text


@pytest.mark.slow
def test_the_command_runs_a_part_in_its_own_process_and_resumes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(journal, "state", lambda: "x")  # whoever edits meanwhile
    command = ["--rehearse", "--out", str(tmp_path), "--only", "graphs and streams"]
    assert main(command) == 0
    assert "graphs and streams: done" in capsys.readouterr().out
    (lines,) = tmp_path.glob("*_accept.jsonl")
    (text,) = tmp_path.glob("*_accept.md")
    assert "- nothing" in text.read_text() and "| graphs and streams | done |" in text.read_text()
    before = lines.read_bytes()
    assert main(command) == 0
    assert "graphs and streams: done before" in capsys.readouterr().out
    assert lines.read_bytes() == before


def test_a_part_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"--only 'grafs' is no part; known: correct, cuda"):
        main(["--rehearse", "--out", str(tmp_path), "--only", "grafs"])
    assert not list(tmp_path.iterdir())


# What is kept -------------------------------------------------------------------------------------


def test_the_last_attempt_with_this_code_counts_and_a_torn_line_is_cut(tmp_path):
    path = tmp_path / "a/results.jsonl"
    for record in (
        {"part": "p", "state": "old", "what": "of other code"},
        {"part": "p", "state": "new", "begin": True},
        {"part": "p", "state": "new", "what": "of an attempt before"},
        {"part": "p", "state": "new", "begin": True},
        {"part": "p", "state": "new", "what": "kept"},
    ):
        journal.append(path, record)
    path.write_bytes(path.read_bytes() + b'{"part": "p", "sta')
    (record,) = journal.attempts(path, "new")["p"]
    assert record["what"] == "kept" and journal.end_of([record]) == "interrupted"
    assert journal.end_of([record, {"end": "done"}]) == "done"
    assert journal.attempts(path, "none") == {}


def test_a_result_is_of_its_commit_and_of_what_was_changed_since(tmp_path, monkeypatch):
    def git(*arguments):
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        done = subprocess.run(
            ["git", *who, *arguments], cwd=tmp_path, check=True, text=True, stdout=-1
        )
        return done.stdout.strip()

    monkeypatch.setattr(journal, "ROOT", tmp_path)
    for name in ("direct/a.py", "benchmarks/results/a.md"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("1\n")
    bare = journal.state()
    assert bare.startswith("no-git+") and len(bare) == 15
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "x")
    commit = git("rev-parse", "--short=12", "HEAD")
    assert journal.state() == commit
    (tmp_path / "benchmarks/results/new.jsonl").write_text("{}\n")
    assert journal.state() == commit, "results are no change of the code"
    (tmp_path / "direct/a.py").write_text("2\n")
    assert journal.state().startswith(f"{commit}+") and journal.state()[-8:] != bare[-8:]


def finding(place):
    yield {"what": "a", "reading": "agrees", "value": True}
    yield {"what": "b", "reading": "agrees", "value": False}


def failing(place):
    yield {"what": "a", "reading": "agrees", "value": True}
    raise RuntimeError("a launch failed")


def lacking(place):
    raise NotHere("triton is not installed")
    yield


@pytest.mark.parametrize(
    ("generate", "found", "end", "said"),
    [
        (finding, ["a", "b"], "done", ""),
        (failing, ["a"], "failed", "RuntimeError: a launch failed"),
        (lacking, [], "not here", "triton is not installed"),
    ],
)
def test_each_record_is_kept_whatever_comes_after_it(tmp_path, generate, found, end, said):
    path = tmp_path / "results.jsonl"
    run.run_part("p", Part(1, generate), path, "x", Place(True, tmp_path))
    *records, last = journal.attempts(path, "x")["p"]
    assert [record["what"] for record in records] == found
    assert (last["end"], last["said"]) == (end, said) and last["seconds"] >= 0


def test_parts_without_a_result_run_within_their_limit_and_the_rest_of_the_time(
    tmp_path, monkeypatch, capsys
):
    path, place = tmp_path / "results.jsonl", Place(False, tmp_path)
    parts = {name: Part(100, finding) for name in ("done", "late", "dead", "never")}
    clock, limits = [0.0], {}

    def in_process(name, lines, state, place, limit):
        limits[name] = limit
        if name == "dead":
            clock[0] += 50
            return 50
        clock[0] += limit + 1
        return limit + 1

    monkeypatch.setattr(run, "_in_process", in_process)
    monkeypatch.setattr(run, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    run.run_part("done", parts["done"], path, "x", place)
    run.run_all(parts, path, "x", place, minutes=157 / 60)
    assert limits == {"late": 100, "dead": 56}
    found = journal.attempts(path, "x")
    assert journal.end_of(found["late"]) == "timed out"
    assert journal.end_of(found["dead"]) == "failed" and "never" not in found
    assert "done: done before" in (said := capsys.readouterr().out) and "never: no time" in said


def test_a_process_is_ended_with_all_that_it_started(monkeypatch):
    """Each of them holds the pipe's other end: its end is that of the last one."""
    monkeypatch.setattr(run, "PATIENCE", 300)  # a kill would be another status
    command = ["sh", "-c", "sleep 900 & echo begun; wait"]
    process = subprocess.Popen(command, start_new_session=True, stdout=-1, bufsize=0)
    with process.stdout as pipe:
        assert pipe.readline() == b"begun\n"
        run.end_group(process, signal.SIGTERM)
        assert process.returncode == -signal.SIGTERM
        assert select.select([pipe], [], [], 300)[0] and pipe.read() == b""


# What falls short ---------------------------------------------------------------------------------


def test_targets_hold_their_bounds():
    assert targets.Target(0.9).met(0.9) and not targets.Target(0.9).met(0.89)
    assert targets.Target(most=0).met(0) and not targets.Target(most=0).met(None)
    assert targets.TARGETS["agrees"].met(True) and not targets.TARGETS["agrees"].met(False)
    assert [str(t) for t in (targets.Target(1), targets.Target(most=2), targets.Target(1, 2))] == [
        "at least 1",
        "at most 2",
        "1 to 2",
    ]


def test_the_report_says_what_fell_short_and_compares_with_the_prediction():
    what, share = "cuda, B = 8, noises given", "share of a copy, noises given"
    end = {"end": "done", "said": "", "seconds": 3.0}
    found = {
        "speed": [{"what": what, "reading": share, "value": 0.6}, end],
        "predicted": [{"what": what, "reading": "predicted share of a copy", "value": 0.9}, end],
        "right": [
            {"what": "c", "reading": "agrees", "value": False, "said": ["loss: not float64's"]},
            {"what": "d", "reading": "agrees", "value": True},
            {"end": "timed out", "said": "after 60 s", "seconds": 60.0},
        ],
    }
    machine = {"name": "a GPU", "device": "cuda", "torch": "2"}
    text = summary.markdown(found, [*found, "cost"], machine, "abc")
    assert text.split("## Parts")[0].splitlines()[6:] == [
        f"- speed: {what}: {share} is 0.6, at least 0.9 asked",
        f"- predicted: {what}: measured over predicted share is 0.667, 0.85 to 1.15 asked",
        "- right: timed out: after 60 s",
        "- right: c: agrees is no, at least 1 asked (loss: not float64's)",
        "- cost: not run",
        "",
    ]
    assert "| speed | done | 3 | 0 of 1 |" in text and "| right | timed out | 60 | 1 of 2 |" in text
    assert f"| predicted | {what} | predicted share of a copy | 0.9 |  |" in text
    assert "| right | d |" not in text, "what holds is counted, not listed"


# What is right ------------------------------------------------------------------------------------


def test_every_variant_agrees_with_itself_and_a_wrong_kernel_is_noticed():
    off = {
        "loss": lambda r: (r[0] * 1.001, *r[1:]),
        "distances": lambda r: (r[0], r[1] * 1.001, *r[2:]),
        "count": lambda r: (*r[:3], r[3] + 1, r[4]),
        "gradient": lambda r: (*r[:4], r[4] * 1.01),
    }
    whats = []
    for what, p in correct.cases(((2, 24), (2, 77))):
        whats.append(what)
        assert not correct.disagreements(Kernels(native.operator, None), p, "cpu"), what
    assert len(set(whats)) == len(whats) == 2 * 2 + 2 * 18
    p = correct.inputs((2, 24), torch.float32)
    for name, change in off.items():
        wrong = Kernels(lambda p, change=change: change(reference.evaluate(p)), None)
        said = correct.disagreements(wrong, p, "cpu")
        assert said == [f"{name}: not float64's", f"{name}: not the CPU's"]


def test_targets_agree_and_a_wrong_kernel_of_them_is_noticed():
    p = several.inputs((2, 77), 4, torch.float32)
    assert not several.disagreements(Kernels(None, None, targets=native.target_operator), p, "cpu")
    off = {"loss": (1.001, 1, 1), "distances": (1, 1.001, 1), "gradient": (1, 1, 1.01)}
    for name, factors in off.items():

        def wrong(p, factors=factors):
            return tuple(a * b for a, b in zip(native.target_operator(p), factors, strict=True))

        said = several.disagreements(Kernels(None, None, targets=wrong), p, "cpu")
        assert said == [f"{name}: not float64's"]
    noisy = Kernels(
        None, None, targets=lambda p: (*native.target_operator(p)[:2], torch.rand(2, 77))
    )
    assert "other bits the second time" in several.disagreements(noisy, p, "cpu")
