"""Files that people and other programs give: prompts, captions, metadata, raters' answers."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from direct.config import Run
from direct.data import benchmarks, captions, curated, folder, source, wisa
from direct.evaluate import videophy, worldmodelbench
from direct.profiles import profile
from direct.settings import override

from .harness import cases, faults, read
from .values import changed_json, damaged, written

PROMPT = benchmarks.Prompt("a", "a ball falls", {"instruction": "i", "domain": "d"})
ANSWER = {
    "instruction": ["Score: 2"],
    "physical_laws": ["No"] * 5,
    "common_sense": ["No", "Yes"],
}
ENTRY = {
    "first_frame": "x/a.jpg",
    "text_first_frame": "a ball",
    "text_instruction": "it falls",
    "domain": "d",
}
CLIP = {
    "id": "a", "sha256": "0" * 64, "law": "collision", "caption": "a ball", "video": "a.mp4",
    "frames": 81, "height": 480, "width": 854,
}  # fmt: skip
VIDEO = {
    "video_name": "a.mp4",
    "label": "collision",
    "physical_annotation": {"captions": "a ball", "phys_law": "it falls"},
}


def csv_of(*rows):
    return "".join(",".join(row) + "\r\n" for row in rows).encode()


def prompts_file(place):
    name = next(x for x in ("own.txt", "own.csv", "own.jsonl") if os.path.lexists(place / x))
    config = override(profile("wan2.1-t2v-1.3b"), f"evaluate.prompts_file={place / name}")
    source._given(config)


def clips(place):
    config = replace(profile("wan2.1-t2v-1.3b"), data=replace(profile("tiny").data, clips=1))
    run = Run(config, place / "cache" / config.profile)
    curated._chosen(run)
    curated._content(curated._chosen(run))
    curated._read(place / "cache/wisa/report.json")


def lines(*values):
    return b"".join(written(value) + b"\n" for value in values)


def answers(judge):
    def reader(place):
        for found in judge.answers([PROMPT], place).values():
            judge.score(found)

    return reader


READERS = {  # a file, what it may hold, what reads it
    "own.txt": (b"a ball falls\nanother\n", prompts_file),
    "own.csv": (csv_of(["caption", "law"], ['"a ball, red"', "fall"]), prompts_file),
    "own.jsonl": (lines({"caption": "a ball"}), prompts_file),
    "metadata.csv": (
        csv_of(["file_name", "caption"], ["a.mp4", "a ball"]),
        lambda place: folder._check_columns(place, folder.read_table(place / "metadata.csv")),
    ),
    "prompts.csv": (
        csv_of(["caption", "states_of_matter"], ["a ball", "solid-solid"]),
        lambda place: benchmarks.videophy(place / "prompts.csv"),
    ),
    "worldmodelbench.json": (
        written([ENTRY]),
        lambda place: benchmarks.worldmodelbench(place / "worldmodelbench.json"),
    ),
    "captions.json": (
        written({"a ball": "a red ball"}),
        lambda place: captions.read(place / "captions.json"),
    ),
    "wisa-80k.json": (
        written([VIDEO]),
        wisa.read_metadata,
    ),
    "cache/wisa/manifest.jsonl": (lines(CLIP), clips),
    "cache/wisa/report.json": (written({"folder": "/x"}), clips),
    "sa.csv": (
        csv_of(["a.mp4", '"' + videophy._question("SA", PROMPT).replace('"', '""') + '"', "0.5"]),
        answers(videophy),
    ),
    "answers.json": (written({"preds": {"a": ANSWER}}), answers(worldmodelbench)),
    "answers.jsonl": (lines({"video": "a"} | ANSWER), answers(worldmodelbench)),
}
JSON = {
    "own.jsonl": {"caption": "a ball"},
    "worldmodelbench.json": [ENTRY],
    "captions.json": {"a ball": "a red ball"},
    "wisa-80k.json": [VIDEO],
    "cache/wisa/manifest.jsonl": CLIP,
    "answers.json": {"preds": {"a": ANSWER}},
    "answers.jsonl": {"video": "a"} | ANSWER,
}


def attack(place, name, put):
    target = place / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if name == "cache/wisa/report.json":
        (place / "cache/wisa/manifest.jsonl").write_bytes(lines(CLIP))
    if os.path.lexists(target):
        target.rmdir() if target.is_dir() and not target.is_symlink() else target.unlink()
    put(target)
    return faults(read(lambda: READERS[name][1](place), place))


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file(name, tmp_path):
    whole = READERS[name][0]
    assert not attack(tmp_path, name, lambda path: path.write_bytes(whole)), "as it should be"

    @cases(3)
    @given(damaged(whole))
    def run(data):
        assert not attack(tmp_path, name, lambda path: path.write_bytes(data)), data[:300]

    run()


@pytest.mark.parametrize("name", JSON)
def test_other_values(name, tmp_path):
    @cases(3)
    @given(changed_json(JSON[name]), st.booleans())
    def run(changed, line):
        data = written(changed) + (b"\n" if line else b"")
        assert not attack(tmp_path, name, lambda path: path.write_bytes(data)), changed

    run()


@pytest.mark.parametrize("name", READERS)
def test_something_else_in_its_place(name, tmp_path):
    for kind in ("folder", "loop", "dangling"):

        def put(path, kind=kind):
            aim = {"loop": path.name, "dangling": "nowhere"}.get(kind)
            path.symlink_to(aim) if aim else path.mkdir()

        assert not attack(tmp_path / kind, name, put), kind
