"""Clips of one's own: what is kept, each other one's reason, and what training reads of them."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from small_video import MATRICES, encoded, turned

from direct.common.errors import UserError
from direct.config import Run
from direct.data import curated, folder, source, wisa
from direct.data.video import write_video
from direct.prepare import __main__ as prepare
from direct.prepare import shared
from direct.profiles import profile
from direct.settings import override


def clip(path, frames=12, fps=8, size=(24, 32)):
    """Frame k is k * 10 bright."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ramp = np.arange(frames, dtype=np.uint8)[:, None, None, None] * 10
    write_video(path, np.broadcast_to(ramp, (frames, *size, 3)).copy(), fps)


@pytest.fixture
def videos(tmp_path):
    root = tmp_path / "videos"
    clip(root / "a.mp4")
    clip(root / "deep" / "b.mp4", frames=14)
    clip(root / "short.mp4", frames=3)
    clip(root / "wide.mp4", frames=13, size=(24, 64))
    (root / "text.mp4").write_text("no video")
    clip(tmp_path / "outside.mp4")
    return root


ROWS = [
    {"file_name": "a.mp4", "caption": "A ball  falls."},
    {"file_name": "deep/b.mp4", "caption": "A cup breaks."},
    {"file_name": "short.mp4", "caption": "Too short."},
    {"file_name": "wide.mp4", "caption": "Too wide."},
    {"file_name": "text.mp4", "caption": "No video."},
    {"file_name": "gone.mp4", "caption": "Not there."},
    {"file_name": "../outside.mp4", "caption": "Not inside."},
    {"file_name": "a.mp4", "caption": "Again."},
    {"file_name": "", "caption": "Nothing."},
]
RULE = wisa.Rule(10, "4:3")


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_every_clip_is_kept_or_has_its_reason(videos, tmp_path):
    (videos / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    report = folder.curate(videos, None, tmp_path / "out", RULE)
    kept = lines(tmp_path / "out" / "manifest.jsonl")
    assert [(x["id"], x["caption"], x["law"], x["curated_to"]) for x in kept] == [
        ("a", "A ball falls.", "", 10),
        ("deep/b", "A cup breaks.", "", 10),
    ]
    reasons = [(x["id"], x["reason"]) for x in lines(tmp_path / "out" / "left_out.jsonl")]
    assert reasons == [
        ("short", "fewer than 10 frames"),
        ("wide", "not 4:3"),
        ("text", "unreadable video"),
        ("gone", "no such video file"),
        ("row 7", "not in the folder of videos"),
        ("a", "named twice"),
        ("row 9", "no video named"),
    ]
    assert report["entries"] == 9 and report["kept"] == 2


@pytest.mark.slow
def test_the_command_curates_and_training_reads_the_frames_at_the_model_s_rate(
    videos, tmp_path, monkeypatch, capsys
):
    table = tmp_path / "captions.csv"
    table.write_text("file_name,caption\na.mp4,A ball falls.\ndeep/b.mp4,A cup breaks.\n")
    options = ["curate", "--videos", str(videos), "--captions", str(table), "--aspect", "any"]
    options += ["--min-frames", "5", "--retime", "--out", str(tmp_path), "--profile", "tiny"]
    small = ["data.source=cache", "data.clips=2", "macro.clusters=2", "model.fps=4"]
    small += ["model.frames=5", "model.height=24", "model.width=32", "loss.lambda_hard=0"]
    sets = [part for x in small for part in ("--set", x)]
    monkeypatch.setattr(sys, "argv", ["prepare", *options, *sets])
    assert prepare.main() == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 2
    run = Run(override(profile("tiny"), *small), tmp_path / "cache" / "tiny")
    samples = {sample.id: sample for sample in source.training(run)}
    bright = samples["a"].video().mean((1, 2, 3))  # 8 frames a second, shown at 4
    assert np.abs(bright - [0, 20, 40, 60, 80]).max() < 4
    assert samples["a"].content.endswith("curated_to=5 step=2.0")
    assert shared.laws(run.config, list(samples.values())) is None, "clusters alone"
    longer = replace(run, config=override(run.config, "model.frames=9"))
    with pytest.raises(UserError, match=r"model.frames=9 is above the 5 frames"):
        source.training(longer)
    assert curated.pinned(run).data.content


def test_files_are_found_in_linked_folders_and_under_other_spellings(tmp_path, monkeypatch):
    def probed(root, paths, *more):
        shown = {"frames": 12, "height": 24, "width": 32, "fps": 8.0}
        return {path: shown | {"sha256": str(path)} for path in paths}

    monkeypatch.setattr(wisa, "probed", probed)
    root, other = tmp_path / "videos", tmp_path / "other"
    for path in (root / "a.MP4", root / "Cafe\u0301.webm", other / "b.mkv", other / "c.ogv"):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (root / "more").symlink_to(other)
    names = ["a.mp4", "Caf\u00e9.webm", "more/b.mkv", "more/c.ogv", "../other/b.mkv"]
    rows = [{"file_name": name, "caption": "A ball falls."} for name in names]
    (root / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = folder.curate(root, None, tmp_path / "out", RULE)
    kept = [(x["id"], x["video"]) for x in lines(tmp_path / "out" / "manifest.jsonl")]
    assert kept == [
        ("a", "a.MP4"),
        ("Caf\u00e9", "Cafe\u0301.webm"),
        ("more/b", "more/b.mkv"),
        ("more/c", "more/c.ogv"),
    ]
    assert report["left_out"] == {"not in the folder of videos": 1}


@pytest.mark.slow
def test_a_clip_held_upright_is_trained_upright(tmp_path, monkeypatch):
    root = tmp_path / "videos"
    root.mkdir()
    for name, matrix in (("phone", "clockwise"), ("plain", "upright")):
        (root / f"{name}.mp4").write_bytes(turned(encoded(12), MATRICES[matrix]))
    rows = [{"file_name": f"{x}.mp4", "caption": f"A {x} ball."} for x in ("phone", "plain")]
    (root / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    small = ["data.source=cache", "data.clips=2", "macro.clusters=2", "model.frames=5"]
    run = Run(override(profile("tiny"), *small, "model.height=24"), tmp_path / "cache" / "tiny")
    folder.curate(root, None, curated.home(run.cache), wisa.Rule(5, "any"))
    samples = {sample.id: sample for sample in source.training(run)}
    red = {name: samples[name].video()[0, :, :, 0] > 180 for name in samples}
    assert red["plain"][4:8, 4:12].all() and not red["plain"][4:8, 20:].any()
    assert red["phone"][4:8, 20:28].all() and not red["phone"][4:8, :12].any()
    assert samples["phone"].content.endswith("turned=transpose hflip")
    assert "turned" not in samples["plain"].content


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("c.csv", "file,caption\na.mp4,x\n", "has no column file_name; .*file"),
        ("c.csv", "", "has no row"),
        ("c.jsonl", '{"file_name": "a.mp4"}\n', "has no column caption"),
        ("c.jsonl", "{\n", "line 1 is not JSON"),
        ("c.jsonl", "[]\n", "line 1 is not an object"),
        ("c.txt", "a.mp4\n", "neither a .csv nor a .jsonl"),
    ],
)
def test_a_file_of_captions_that_cannot_be_read_is_one_sentence(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=said) as error:
        folder.curate(tmp_path, tmp_path / name, tmp_path / "out", RULE)
    assert "\n" not in str(error.value)


def test_a_folder_without_captions_says_what_to_give(tmp_path):
    with pytest.raises(UserError, match=r"give --captions FILE.csv"):
        folder.curate(tmp_path, None, tmp_path / "out", RULE)


@pytest.mark.parametrize("shape", ["wide", "16:0", "4"])
def test_a_shape_that_is_none_is_refused(shape):
    with pytest.raises(UserError, match=f"--aspect {shape} is not as 16:9"):
        _ = wisa.Rule(shape=shape).aspect


def test_prompts_come_from_a_file_and_name_the_cell(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("A ball falls.\n\nA cup breaks.\n")
    config = override(profile("ltx-video"), f"evaluate.prompts_file={path}", "evaluate.prompts=2")
    run = Run(config, tmp_path / "cache" / "x")
    pinned = source.pinned(run)
    assert [item.prompt for item in source.evaluation(pinned)] == ["A ball falls.", "A cup breaks."]
    path.write_text("A ball falls.\nA cup stands.\n")
    assert source.pinned(run).evaluate.content != pinned.evaluate.content
    with pytest.raises(UserError, match="have changed since this cell was named"):
        source.evaluation(pinned)
    with pytest.raises(UserError, match=r"evaluate.prompts=3, but .*prompts.txt has 2"):
        source.evaluation(override(config, "evaluate.prompts=3"))
