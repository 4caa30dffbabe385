"""Every file that a sweep and its command read, damaged by accident, or forged with right hashes.

A reader may say one sentence, or set the file aside and go on. It never ends in a traceback, never
works for long, and never takes what is forged for a result.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from direct.common import files, manifest
from direct.common.errors import UserError
from direct.common.files import canonical_json, digest
from direct.config import Micro
from direct.identity import identity, named
from direct.prepare import perturb
from direct.profiles import profile
from direct.settings import override
from direct.train import __main__ as train
from sweeps import archive, checks, results, run
from sweeps.ablations import ABLATIONS
from sweeps.cell import begin, read_config, read_result, read_timing
from sweeps.experiments import Experiment, remember
from sweeps.queue import leases, status, storage
from sweeps.queue.estimate import Estimator, words
from sweeps.report import gallery_files
from sweeps.report.text import markdown
from sweeps.schema import cells
from sweeps.tables import build

from .harness import cases, faults, read
from .values import changed_json, damaged, odd, written

BASE = override(profile("tiny"), "evaluate.prompts=3")
TABLE = ABLATIONS["lambda_hard"]
CELLS = cells(TABLE, BASE, (0, 1))
CELL = CELLS[0]
SHARE = 4  # cases of make test, of a file


def result(config=CELL.config):
    """A whole result, but for its checksum."""
    return {
        "schema": 1,
        "cell": identity(config),
        "config": named(config),
        "code": {"direct.flow": "01234567"},
        "provenance": {"commit": "abc", "device": "a processor", "weights": "w", "packages": {}},
        "status": "done",
        "prompts": ["a", "b", "c"],
        "captions": ["one", "two", "three"],
        "scores": {name: [0.25, 0.5, 1.0] for name in ("SA", "PC", "AVG")},
        "negatives": {"rand": 0.5},
    }


def sealed(body):
    """A result as an attacker writes it: whatever it says, its own hashes are right."""
    with suppress(ValueError, TypeError, AttributeError, KeyError, RecursionError):
        body["cell"] = digest(body["config"])
        body = {k: v for k, v in body.items() if k != "checksum"}
        body["checksum"] = digest(body, 64)
    return body


def read_results(place):
    """What `report` and `results.load` do with all results, short of drawing."""
    root = place / "runs" / "tiny"
    found = results.read_all(root)
    results.frame(found)
    markdown(build(TABLE, CELLS, found))
    for cell in CELLS[:2]:
        status.state(cell, root)


def read_cell(place):
    """What planning, a worker and `status` read of a cell's folder."""
    root = place / "runs" / "tiny"
    estimator = Estimator(root, {cell.id: cell.config for cell in CELLS})
    words(estimator.remaining([cell.id for cell in CELLS], 2))
    status.failures(CELLS, root)
    status.state(CELL, root)
    leases.live(root / CELL.id)
    read_timing(root / CELL.id / "timing.json")
    read_result(root / CELL.id)
    begin(root / CELL.id)
    read_config(root / CELL.id)


def list_all(place):
    run.main(["list", "--out", str(place)])
    run.main(["status", "--out", str(place)])


def open_journal(place):
    storage.repair(place)
    assert storage.repair(place) is None, "what it has mended is whole"
    storage.open_study(place, "s").get_trials()


def resume_perturb(place):
    settings = perturb._plain(Micro())
    lines = perturb._resume(place / "candidates.jsonl", settings)
    perturb.statistics(list(lines.values()), 0.5)
    [perturb._kept(line) for line in lines.values()]


def check_pipeline(place):
    checks._check_sizes(override(BASE, f"model.pipeline={place}").model, place)


def claim(place):
    from direct.config import Run

    train._claim(Run(BASE, place, place))


CANDIDATE = {"axis": "forces", "prompt": "a ball", "cosine": 0.9, "fate": "kept"}
CELL_FOLDER = f"runs/tiny/{CELL.id}"
VALUES = {  # of a JSON file: where it is, what it holds, what reads it
    "result": (f"{CELL_FOLDER}/result.json", sealed(result()), read_results),
    "config": (f"{CELL_FOLDER}/config.json", asdict(CELL.config), read_cell),
    "failure": (f"{CELL_FOLDER}/failure.json", {"reason": "made to fail"}, read_cell),
    "timing": (f"{CELL_FOLDER}/timing.json", {"train": 1.5, "judge": 2.0}, read_cell),
    "lease": (
        f"{CELL_FOLDER}/lease.json",
        {"host": leases._host(), "pid": 1, "started": "1", "token": "t"},
        read_cell,
    ),
    "inputs": (f"{CELL_FOLDER}/inputs.json", {"weights": "w", "code": "c"}, read_cell),
    "gallery": (
        "gallery.json",
        {"key": "k", "judge": "j", "seed": 0, "prompts": 3, "size": [32, 32, 17], "cells": ["a"],
         "commits": ["c"], "examples": []},
        gallery_files.read,
    ),
    "claim": ("config.json", asdict(BASE), claim),
    "transformer": ("transformer/config.json", {"_class_name": "WanTransformer3DModel",
                    "patch_size": [1, 1, 1]}, check_pipeline),
    "vae": ("vae/config.json", {"_class_name": "AutoencoderKLWan", "scale_factor_temporal": 4,
            "scale_factor_spatial": 4}, check_pipeline),
}  # fmt: skip


def lines_of(*values):
    return "".join(canonical_json(value) + "\n" for value in values).encode()


def journal_bytes(folder):
    study = storage.open_study(folder, "s")
    study.enqueue_trial({"x": 1.0}, {"cell": "0" * 12})
    return storage.journal(folder).read_bytes()


def record_bytes(folder):
    remember(Experiment("mine", TABLE, tuple(CELLS[:2]), BASE), folder)
    return (folder / "experiments/mine/lambda_hard.json").read_bytes()


def tarred(members):
    out = io.BytesIO()
    with (
        gzip.GzipFile("", "wb", fileobj=out, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def archived(body):
    """An archive that a forger makes of one result: all of its hashes are right."""
    data = written(body)
    name = body.get("cell") if isinstance(body, dict) else None
    name = name if isinstance(name, str) else "0" * 12
    hashes = {name: hashlib.sha256(data).hexdigest()}
    about = {"version": 1, "schema": 1, "profile": "tiny", "results": hashes}
    return tarred({archive.MANIFEST: written(about), f"{name}/result.json": data})


def take(place):
    archive.take(place / "taken", "tiny", place / "results.tar.gz")
    results.frame(results.read_all(place / "taken"))


def checked_files(place):
    files.read_checked(place / "x.safetensors")
    files.cached_json(place / "cached.json", lambda: [1, 2])
    manifest.fault_of(place)
    archive.fsck(place, place)


DATA = {  # of another file: where it is, how it is made, what reads it
    "journal": ("study.journal", journal_bytes, open_journal),
    "record": ("runs/tiny/experiments/mine/lambda_hard.json", record_bytes, list_all),
    "archive": ("results.tar.gz", lambda _: archived(sealed(result())), take),
    "candidates": (
        "candidates.jsonl",
        lambda _: lines_of(
            {"settings": perturb._plain(Micro())},
            {"id": "a", "prompt": "a ball falls", "candidates": [CANDIDATE]},
        ),
        resume_perturb,
    ),
    "cached": (
        "cached.json",
        lambda _: canonical_json({"sha256": digest([1, 2], 64), "value": [1, 2]}).encode(),
        checked_files,
    ),
    "checksum": ("x.safetensors.sha256", lambda _: b"0" * 64 + b"\n", checked_files),
    "manifest": (manifest.MANIFEST, lambda _: b"0" * 64 + b"  x.safetensors\n", checked_files),
} | {
    name: (path, lambda _, value=value: written(value), reader)
    for name, (path, value, reader) in VALUES.items()
}  # fmt: skip
OTHERS = ("folder", "loop", "dangling", "pipe", "device")  # in a file's place


def surroundings(folder):
    """What stands around a file, so that its reader comes to it."""
    (folder / CELL_FOLDER).mkdir(parents=True, exist_ok=True)
    (folder / CELL_FOLDER / "config.json").write_bytes(written(asdict(CELL.config)))
    (folder / "x.safetensors").write_bytes(b"1234")
    (folder / "model_index.json").write_text("{}")
    for part in ("transformer", "vae"):
        path, value, _ = VALUES[part]
        (folder / part).mkdir(exist_ok=True)
        (folder / path).write_bytes(written(value))
    return folder


@pytest.fixture
def place(tmp_path):
    return lambda name: surroundings(tmp_path / name)


@pytest.fixture(scope="module", autouse=True)
def imported(tmp_path_factory):
    """What readers import and remember, before their work is timed."""
    for name, (_, make, reader) in DATA.items():
        folder = surroundings(tmp_path_factory.mktemp(name))
        target = folder / DATA[name][0]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(make(tmp_path_factory.mktemp("made")))
        reader(folder)


def attack(folder, name, put):
    """Puts something at a file's place, reads it, and says what is wrong with that."""
    path, _, reader = DATA[name]
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_symlink() or target.exists():
        target.rmdir() if target.is_dir() and not target.is_symlink() else target.unlink()
    put(target)
    return faults(read(lambda: reader(folder), folder))


@pytest.mark.parametrize("name", DATA)
def test_a_damaged_file(name, place, tmp_path):
    whole = DATA[name][1](tmp_path)
    folder = place("place")
    assert not attack(folder, name, lambda path: path.write_bytes(whole)), "as it should be"

    @cases(SHARE)
    @given(damaged(whole))
    def run(data):
        wrong = attack(folder, name, lambda path: path.write_bytes(data))
        assert not wrong, data[:300]

    run()


@pytest.mark.parametrize("name", VALUES)
def test_a_json_file_of_other_values(name, place):
    folder, value = place("place"), VALUES[name][1]
    seal = sealed if name == "result" else lambda x: x

    @cases(SHARE)
    @given(changed_json(value))
    def run(changed):
        wrong = attack(folder, name, lambda path: path.write_bytes(written(seal(changed))))
        assert not wrong, changed

    run()


@pytest.mark.parametrize("name", DATA)
def test_something_else_in_a_files_place(name, place, tmp_path):
    whole = DATA[name][1](tmp_path)

    def put(path, kind):
        if kind == "folder":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            aim = {"loop": path.name, "dangling": "nowhere", "device": "/dev/zero"}[kind]
            path.symlink_to(aim)

    for kind in OTHERS:
        wrong = attack(place(kind), name, lambda path, kind=kind: put(path, kind))
        assert not wrong, kind
    wrong = attack(place("again"), name, lambda path: path.write_bytes(whole))
    assert not wrong


@st.composite
def forged(draw):
    """Members and manifests that `export` never writes."""
    body = sealed(draw(changed_json(result())))
    data = archived(body)
    if draw(st.booleans()):
        return data
    name = draw(st.sampled_from(["../x", "/etc/x", "a" * 12 + "/result.json", archive.MANIFEST]))
    about = {"version": 1, "schema": 1, "profile": "tiny", "results": {}}
    return tarred({archive.MANIFEST: written(draw(changed_json(about))), name: written(draw(odd))})


def test_a_forged_archive(place):
    folder = place("place")

    @cases(12)
    @given(forged())
    def run(data):
        wrong = attack(folder, "archive", lambda path: path.write_bytes(data))
        assert not wrong, data[:300]

    run()
    assert not list(Path(folder).parent.glob("x")) and not Path("/etc/x").exists()


def test_a_result_that_is_forged_without_its_hashes_is_no_result(place):
    """The attacks above are taken for results only where every hash was computed again."""
    folder = place("place")
    path = folder / CELL_FOLDER / "result.json"
    path.write_bytes(written(sealed(result())))
    assert read_result(path.parent)
    path.write_bytes(written(sealed(result()) | {"scores": {"SA": [1.0] * 3}}))
    assert read_result(path.parent) is None and not path.exists()
    with pytest.raises(UserError, match="not the configuration that its folder names"):
        path.with_name("config.json").write_bytes(written(json.loads("{}")))
        read_config(path.parent)
