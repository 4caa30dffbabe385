"""Command lines that people type by mistake, or on purpose, of every module that has one."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from direct.common.files import write_json
from direct.profiles import PROFILES, profile
from direct.settings import settings

from .harness import SECONDS, Accepted, Hangs, attacked, cases, faults
from .values import texts

PATHS = (
    "missing", "run", "folder", "file", "empty.csv", "empty.jsonl", "empty.txt", "loop", "loop.csv",
    "dangling.txt", "pipe", "pipe.csv", "zeros.txt", "zeros.csv", "zeros.json", "folder/below",
    "file/below", "n" * 300, "new\nline", "\udcff", "", ".", "x.gif", "x.mp4", "x.png", "x.tar.gz",
    "folder.csv", "folder.gif", "folder.py", "broken.py", "exits.py", "x.py:y",
)  # fmt: skip


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The folder that a command is run in, with a few things that paths may name."""
    for name in ("folder", "folder.csv", "folder.gif", "folder.py"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").write_bytes(b"\0\xff")
    for name in ("empty.csv", "empty.jsonl", "empty.txt"):
        (tmp_path / name).touch()
    for name, target in (("loop", "loop"), ("loop.csv", "loop.csv"), ("dangling.txt", "missing")):
        (tmp_path / name).symlink_to(target)
    for name in ("zeros.txt", "zeros.csv", "zeros.json"):
        (tmp_path / name).symlink_to("/dev/zero")
    for name in ("pipe", "pipe.csv"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "broken.py").write_text("from sweeps import Ablation\ntable = Ablation(")
    (tmp_path / "exits.py").write_text("1 / 0\n")
    (tmp_path / "run").mkdir()
    write_json(tmp_path / "run" / "config.json", asdict(profile("tiny")))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def begun(*_: object, **__: object) -> None:
    raise Accepted


NAMES = sorted({name for make in PROFILES.values() for name in settings(make())})
paths = st.sampled_from(PATHS)
profiles = st.one_of(st.sampled_from(["tiny", *PROFILES]), texts)
SIZES = ("0", "1", "2", "3", "4", "1000000000000", "-1", "100000000000")


@st.composite
def assignments(draw: st.DrawFn) -> str:
    """What --set takes: a setting and a value, of which one or the other is likely wrong."""
    name = draw(st.one_of(st.sampled_from(NAMES), texts))
    known = settings(profile("tiny")).get(name, 1)
    near = (str(known), f"{known}0", f"-{known}", f"{known},{known}", *SIZES)
    return f"{name}={draw(st.one_of(st.sampled_from(near), texts, paths))}"


lists = st.lists(st.sampled_from(["0", "1", "2", "-1", "x", "0.5", "1e9"]), max_size=3).map(
    ",".join
)
grids = st.builds("{}={}".format, st.sampled_from(NAMES), lists)
numbers = st.one_of(st.sampled_from(SIZES), texts)


def given_as(option: str, values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """An option that the command needs."""
    return values.map(f"{option}={{}}".format)


amounts = st.one_of(lists, texts)
MEASURING = {"--seconds": numbers, "--processes": numbers, "--out": paths}
SIZE = {"--set": assignments(), "--profile": profiles}
SWEEP = SIZE | {
    "--grid": st.one_of(grids, texts),
    "--name": texts,
    "--seeds": st.one_of(lists, texts),
    "--prompts": numbers,
    "--workers": numbers,
    "--gpus-per-cell": numbers,
    "--storage": st.one_of(texts, st.sampled_from(["postgresql://me:pw@h/d", "postgresql://[/d"])),
    "--launcher": st.sampled_from(["slurm", "ray"]),
    "--columns": texts,
    **dict.fromkeys(
        ("--dry-run", "--join", "--retry-failed", "--accept-old", "--rerun", "--paper-rows",
         "--extra"), None,
    ),
}  # fmt: skip
VERBS = (
    "lambda_hard", "sota", "cost", "alignment", "dynamics", "control", "all", "gallery", "search",
    "status", "list", "report", "settings", "export", "import", "fsck", "",
)  # fmt: skip
verbs = st.one_of(st.sampled_from(VERBS), texts, paths)
OPTIONS = {  # command -> its words, then its options; a flag has no value
    "sweeps.run": ([verbs], SWEEP),
    "sweeps.power": ([verbs], SWEEP),
    "sweeps.__main__": ([verbs], SWEEP),
    "sweeps.coverage": ([], {"--seeds": texts}),
    "direct.train.__main__": ([], SIZE | {"--cache": paths, "--folder": paths}),
    "direct.prepare.__main__": (
        [st.sampled_from(["curate", "encode", "perturb", "render", "verify", "x"])],
        SIZE
        | {
            "--wisa": paths,
            "--videos": paths,
            "--captions": paths,
            "--min-frames": numbers,
            "--aspect": texts,
            "--retime": None,
            "--workers": numbers,
            "--llm": st.one_of(paths, texts),
            "--server": texts,
            "--seeds": lists,
            "--deep": None,
        },
    ),
    "direct.evaluate.__main__": (
        [st.sampled_from(["videophy", "worldmodelbench", "x"]), given_as("--folder", paths)],
        {"--folder": paths, "--prompts": paths},
    ),
    "direct.generate": (
        [given_as("--run", paths), given_as("--prompt", texts)],
        {"--seed": numbers, "--out": paths, "--set": assignments()},
    ),
    "direct.measure.plan_command": (
        [],
        SIZE
        | {
            "--gpu": texts,
            "--gpus": numbers,
            "--cells": numbers,
            "--points": numbers,
            "--share": numbers,
            "--hours": numbers,
            "--disk": numbers,
            "--compare": None,
            "--cheap": paths,
            "--out": paths,
        },
    ),
    "direct.evaluate.peers": (
        [
            st.sampled_from(["cogvideox-5b", "x"]),
            given_as("--judge", st.sampled_from(["videophy", "worldmodelbench", "x"])),
            given_as("--folder", paths),
        ],
        {
            "--prompts": paths,
            "--captions": paths,
            "--weights": paths,
            "--seed": numbers,
        },
    ),
    "direct.world.__main__": (
        [st.sampled_from(["sheet", "gif", "validate", "x"]), given_as("--out", paths)],
        {
            "--split": st.one_of(st.sampled_from(["validation", "pretraining"]), texts),
            "--count": numbers,
            "--scene": st.sampled_from(["throw", "drop", "x"]),
            "--axes": None,
            "--impossible": None,
            "--clips": numbers,
            "--pipeline": paths,
        },
    ),
    "direct.base.__main__": ([given_as("--out", paths)], {"--work": paths}),
    "direct.loss.__main__": ([], {"--machine-code": texts}),
    "direct.__main__": ([texts], {"--help": None}),
    "benchmarks.queue": ([], {"--seeds": numbers, "--workers": numbers, "--storage": texts}),
    "benchmarks.target": ([], {"--batch": numbers, "--counts": amounts, "--seconds": numbers}),
    "benchmarks.step": ([], MEASURING | {"--batch": numbers}),
    "benchmarks.report": ([], MEASURING | {"--batches": amounts}),
    "benchmarks.machine_code": ([], {"--out": paths}),
    "benchmarks.accept.__main__": ([], {"--minutes": numbers, "--only": texts, "--out": paths}),
}
WORK = {  # where an accepted command line would begin to work
    "sweeps.run": ("sweeps.run.work", "sweeps.queue.pool.plan", "sweeps.report.search_report.work"),
    "sweeps.coverage": ("sweeps.coverage.shares",),
    "sweeps.power": ("sweeps.power.build",),
    "direct.train.__main__": ("direct.train.loop.train",),
    "direct.prepare.__main__": (
        "direct.prepare.encode.texts",
        "direct.prepare.encode.clip_latents",
        "direct.prepare.encode.pool_once",
        "direct.prepare.language.local",
        "direct.prepare.render.hard_negatives",
        "direct.data.wisa.choose",
    ),
    "direct.generate": ("direct.generate.generate",),
    "direct.measure.plan_command": (
        "direct.measure.plan.count",
        "direct.measure.compare.measured",
    ),
    "direct.evaluate.peers": ("direct.evaluate.peers.load",),
    "direct.world.__main__": ("direct.models.pipeline.load_pipeline",),
    "direct.__main__": ("runpy.run_module",),
    "benchmarks.queue": ("benchmarks.queue.study",),
    "benchmarks.target": ("benchmarks.target.several",),
    "benchmarks.step": ("multiprocessing.get_context",),
    "benchmarks.report": ("multiprocessing.get_context",),
    "benchmarks.machine_code": ("benchmarks.machine_code.readings",),
    "benchmarks.accept.__main__": ("benchmarks.accept.journal.state",),
}
WORK["sweeps.__main__"] = WORK["sweeps.run"]
OWN = {  # commands with an --out of their own, which is a file, or with none
    "direct.generate", "direct.world.__main__", "direct.base.__main__", "direct.loss.__main__",
    "direct.evaluate.__main__", "direct.evaluate.peers", "direct.__main__", "sweeps.coverage",
    "direct.measure.plan_command", *(name for name in OPTIONS if name.startswith("benchmarks")),
}  # fmt: skip
LATE = {"direct.evaluate.peers": ("diffusers:CogVideoXPipeline",)}  # imported by what is attacked
SAY_MORE = {"sweeps.run": [1], "sweeps.__main__": [1], "direct.measure.plan_command": [1],
            "direct.prepare.__main__": [1]}  # fmt: skip
SHARE = {"sweeps.run": 24, "direct.prepare.__main__": 12}  # of the cases of make test; others 4


@st.composite
def lines(draw: st.DrawFn, name: str) -> list[str]:
    words, options = OPTIONS[name]
    found = [draw(word) for word in words]
    for option in draw(st.lists(st.sampled_from(sorted(options)), max_size=4)):
        value = options[option]
        found += [option] if value is None else [f"{option}={draw(value)}"]
    return found


@pytest.mark.parametrize("name", OPTIONS)
def test_command_lines(name, place):
    main = importlib.import_module(name).main
    for late in LATE.get(name, ()):  # half a minute of a slow processor, which is no hanging
        pkgutil.resolve_name(late)

    @cases(SHARE.get(name, 4))
    @given(lines(name))
    def run(arguments):
        own = [] if name in OWN else ["--out", str(place / "out")]
        with stopped(name):
            found = attacked(main, [*arguments, *own], place)
            if found.seconds > SECONDS:  # it may have imported something
                found = attacked(main, [*arguments, *own], place)
        assert not faults(found, SAY_MORE.get(name, ())), arguments

    run()


@contextmanager
def stopped(name):
    """A command's work ends where it would begin."""
    stages = SimpleNamespace(run=begun)  # in place of a module that takes seconds to import
    with ExitStack() as patches:
        if "direct.base.stages" not in sys.modules:
            sys.modules["direct.base.stages"] = stages
            patches.callback(sys.modules.pop, "direct.base.stages")
        patches.enter_context(mock.patch("direct.base.stages.run", begun))
        for place in WORK.get(name, ()):
            importlib.import_module(place.rpartition(".")[0])
            patches.enter_context(mock.patch(place, begun))
        yield


def test_the_harness_sees_what_is_wrong(place):
    """Each fault that it looks for, made on purpose."""
    from direct.common.errors import UserError

    def raises(error):
        def main():
            raise error

        return main

    def writes():
        Path("/tmp/direct-fuzz-outside").touch()
        Path("/tmp/direct-fuzz-outside").unlink()

    def works():
        while True:
            pass

    def shouts():
        print("error: one\nand another", file=sys.stderr)
        sys.exit(2)

    good = attacked(raises(UserError("all is said; do this")), [], place)
    assert good.status == 2 and not faults(good)
    assert "KeyError" in faults(attacked(raises(KeyError("x")), [], place))[0]
    assert "outside" in faults(attacked(writes, [], place))[0]
    assert "more than a line" in faults(attacked(shouts, [], place))[0]
    assert "Memory" in faults(attacked(lambda: bytes(1 << 40), [], place))[0]
    with mock.patch("fuzz.harness.HANGS", 0.2), pytest.raises(Hangs, match="no end within"):
        attacked(works, [], place)


def test_the_bytecode_of_a_first_import_is_no_fault(place, monkeypatch):
    """A checkout whose environment is new has none: a command imports, and Python keeps it."""
    (place / "imported_for_the_first_time.py").touch()
    monkeypatch.syspath_prepend(place)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)

    def main():
        importlib.import_module("imported_for_the_first_time")

    assert not faults(attacked(main, [], place / "folder"))
