"""Curation on mp4 files made on the spot: layouts, labels, broken files, duplicates, resuming."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from direct.common.errors import UserError
from direct.data import probes, video, wisa

SHARED = Path(__file__).parents[4] / "shared" / "data" / "wisa"  # beside the checkout


def clip(frames, seed=0, height=18, width=32):
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), np.uint8)


def entry(name, label="collision", caption="a ball hits a wall", **more):
    return {
        "video_name": name,
        "captions": caption,
        "label": label,
        "physical_annotation": {"phys_law": "momentum is conserved"},
        **more,
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder as published, with one clip for every reason to be left out."""
    root = tmp_path_factory.mktemp("wisa")
    shards = root / "data" / "videos"
    video.write_video(shards / "0" / "long.mp4", clip(100))
    video.write_video(shards / "0" / "exact.mp4", clip(81, 1))
    video.write_video(shards / "0" / "short.mp4", clip(80, 2))
    video.write_video(shards / "1" / "square.mp4", clip(81, 3, 18, 18))
    shutil.copy(shards / "0" / "long.mp4", shards / "1" / "copy.mp4")
    shutil.copy(shards / "0" / "exact.mp4", shards / "1" / "exact.mp4")  # the same file twice
    whole = (shards / "0" / "long.mp4").read_bytes()
    (shards / "1" / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (shards / "1" / "text.mp4").write_text("not a video at all")
    for n in range(2):
        video.write_video(shards / str(n) / "twice.mp4", clip(81, 10 + n))
    first = [
        entry("long.mp4", "Deformation ", "A\x1b[31m ball \u202efalls\x00\n  down."),
        entry("exact.mp4", "no obvious"),
        entry("exact.mp4", "Gas motion."),
        entry("copy.mp4"),
        entry("short.mp4"),
    ]
    second = [
        entry("square.mp4"),
        entry("cut.mp4"),
        entry("text.mp4"),
        entry("twice.mp4"),
        entry("absent.mp4"),
        entry("../../long.mp4"),
        {"label": "collision"},
        7,
        entry("long.mp4", caption="\x00"),
    ]
    text = json.dumps(first) + " , " + json.dumps(second)
    (root / "data" / "wisa-80k.json").write_text(text)
    return root


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_every_entry_is_kept_or_left_out_with_its_reason(data, tmp_path):
    report = wisa.curate(data, tmp_path, workers=2)
    kept = lines(tmp_path / "manifest.jsonl")
    assert [(c["id"], c["law"], c["frames"]) for c in kept] == [
        ("long", "deformation", 100),
        ("exact", "gas motion", 81),
    ]
    assert kept[0]["caption"] == "A[31m ball falls down." and kept[0]["caption_cleaned"]
    assert not kept[1]["caption_cleaned"] and kept[1]["phys_law"] == "momentum is conserved"
    assert kept[0]["video"] == "data/videos/0/long.mp4"
    reasons = [(line["id"], line["reason"]) for line in lines(tmp_path / "left_out.jsonl")]
    assert reasons == [
        ("exact", "unknown law label"),
        ("copy", "duplicate"),
        ("short", "fewer than 81 frames"),
        ("square", "not 16:9"),
        ("cut", "unreadable video"),
        ("text", "unreadable video"),
        ("twice", "several different files of this name"),
        ("absent", "no such video file"),
        ("long", "duplicate"),  # its folder is not followed
        ("entry 11", "no video named"),
        ("entry 12", "not an object"),
        ("long", "no caption"),
    ]
    assert report["entries"] == 14 and report["kept"] == 2 and report["captions_cleaned"] == 1
    assert sum(report["left_out"].values()) == 12 and report["left_out"]["duplicate"] == 2
    assert json.loads((tmp_path / "report.json").read_text()) == report


@pytest.mark.slow
def test_a_run_cut_short_goes_on(data, tmp_path, monkeypatch):
    left = threading.Event()

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait=True, **how):
            super().shutdown(wait=False, **how)
            left.set()
            super().shutdown(wait)

    def cut(stage, done, total):
        if done == 3:
            raise KeyboardInterrupt
        assert done < 3 or left.wait(60), "what is decoded before the interrupt is told of"

    monkeypatch.setattr(probes, "ThreadPoolExecutor", Pool)
    with pytest.raises(KeyboardInterrupt):
        wisa.curate(data, tmp_path / "a", progress=cut)
    assert not (tmp_path / "a" / "manifest.jsonl").exists()
    journal = tmp_path / "a" / "probes.jsonl"
    before = lines(journal)
    assert 3 <= len(before) < 9
    with open(journal, "a") as handle:
        handle.write('{"key": "torn')
    seen = []
    wisa.curate(data, tmp_path / "a", progress=lambda stage, done, total: seen.append(done))
    assert seen[0] == len(before) + 1 and lines(journal)[: len(before)] == before
    monkeypatch.setattr(probes, "_probe_and_hash", None)  # nothing is decoded again
    whole = (tmp_path / "a" / "manifest.jsonl").read_bytes()
    wisa.curate(data, tmp_path / "a")
    assert (tmp_path / "a" / "manifest.jsonl").read_bytes() == whole


@pytest.mark.slow
def test_all_known_layouts_are_read(tmp_path):
    video.write_video(tmp_path / "any" / "abc.mp4", clip(81))
    flat = {
        "file": "/elsewhere/abc.mp4",
        "video_id": "abc",
        "caption": "PIKA_CRUSH ice melts",
        "phys_law": "heat",
        "label": "Melting",
    }
    for number, layout in enumerate([[flat], {"data": [flat]}, [{**flat, "file": None}]]):
        (tmp_path / "wisa-80k.json").write_text(json.dumps(layout))
        wisa.curate(tmp_path, tmp_path / f"out{number}")
        (line,) = lines(tmp_path / f"out{number}" / "manifest.jsonl")
        assert (line["id"], line["caption"], line["phys_law"]) == ("abc", "ice melts", "heat")


@pytest.mark.skipif(not SHARED.exists(), reason="WISA's sample records are not here")
@pytest.mark.parametrize("name", sorted(p.name for p in SHARED.glob("*.json")) or ["none"])
def test_the_published_samples(tmp_path, name):
    shutil.copy(SHARED / name, tmp_path / "wisa-80k.json")
    entries = wisa.read_metadata(tmp_path)
    assert len(entries) >= 1 and all("phys_law" in entry for entry in entries)
    for number, item in enumerate(entries):
        named = item | {"video_name": "x.mp4"}
        described = wisa._described(number, named, lambda name: [Path(name)])
        known = str(item["label"]).strip().lower() in wisa.LAWS
        assert ("left_out" not in described) == known
        assert not described.get("caption", "").startswith("PIKA")


def test_labels():
    assert len(set(wisa.LAWS)) == 17
    assert wisa.law(" Interference  and Diffraction ") == "interference and diffraction"
    assert wisa.law("Solid Objects Appearance") is None and wisa.law(None) is None


def test_subsample_is_uniform_with_both_ends():
    assert wisa.subsample(81).tolist() == list(range(81))
    indices = wisa.subsample(1000)
    assert (len(indices), indices[0], indices[-1]) == (81, 0, 999)
    assert set(np.diff(indices)) == {12, 13}
    with pytest.raises(UserError, match="80 frames"):
        wisa.subsample(80)


@pytest.mark.parametrize("text", ["[1, 2", "{'a': 1}", "[]x"])
def test_broken_metadata_is_one_sentence(tmp_path, text):
    (tmp_path / "wisa-80k.json").write_text(text)
    with pytest.raises(UserError, match="is not JSON"):
        wisa.read_metadata(tmp_path)


def test_metadata_without_a_video_says_how_to_get_them(tmp_path):
    """The hub has the JSON alone, and a folder of it is no data set of which nothing is kept."""
    (tmp_path / "wisa-80k.json").write_text(json.dumps([entry("a.mp4"), entry("b.mp4")]))
    said = r"2 clips and no video file .*download data/videos/"
    with pytest.raises(UserError, match=said) as error:
        wisa.curate(tmp_path, tmp_path / "out")
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()
    (tmp_path / "0.zip").touch()
    with pytest.raises(UserError, match="unpack its 1 zip files"):
        wisa.curate(tmp_path, tmp_path / "out")


def test_nothing_kept_is_an_error_with_the_reasons(tmp_path):
    (tmp_path / "wisa-80k.json").write_text(json.dumps([entry("a.mp4"), entry("b.mp4", "magic")]))
    (tmp_path / "other.mp4").touch()
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"none of 2 clips .*1 no such video file, 1 unknown law"):
        wisa.curate(tmp_path, out)
    assert [line["id"] for line in lines(out / "left_out.jsonl")] == ["a", "b"]
    assert not (out / "manifest.jsonl").exists() and not (out / "report.json").exists()


SHOWN = {"sha256": "0", "frames": 81, "height": 18, "width": 32, "fps": 16.0}


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        ({"height": 32, "width": 18, "turned": "transpose hflip"}, "not 16:9"),  # as it is shown
        ({"unfit": ["interlaced video", "deinterlace it"]}, "interlaced video"),
        ({"unfit": ["HDR video (PQ)", "map it"]}, "HDR video (PQ)"),
        ({"fault": "cut short"}, "unreadable video"),
        ({"fault": "decoding took more than 9 s", "passing": True}, "not decoded yet"),
    ],
)
def test_what_a_file_shows_decides(tmp_path, monkeypatch, seen, reason):
    """Beside a clip that is kept: mirrored, and of pixels that are wider than high."""
    good = SHOWN | {"sha256": "1", "turned": "hflip"}
    monkeypatch.setattr(
        wisa,
        "probed",
        lambda root, paths, *more: {p: SHOWN | seen if p.stem == "a" else good for p in paths},
    )
    for name in "ab":
        (tmp_path / f"{name}.mkv").touch()
    metadata = [entry("a.mp4"), entry("b.mp4")]
    (tmp_path / "wisa-80k.json").write_text(json.dumps(metadata))
    report = wisa.curate(tmp_path, tmp_path / "out", seconds=9)
    assert report["left_out"] == {reason: 1} and report["seconds"] == 9
    assert report["to_try_again"] == (reason == "not decoded yet")
    (line,) = lines(tmp_path / "out" / "manifest.jsonl")
    assert (line["id"], line["video"], line["turned"]) == ("b", "b.mkv", "hflip")


def test_where_no_clip_could_be_decoded_it_says_how_to_try_again(tmp_path, monkeypatch):
    late = {"sha256": "", "fault": "decoding took more than 9 s", "passing": True}
    monkeypatch.setattr(wisa, "probed", lambda root, paths, *more: dict.fromkeys(paths, late))
    (tmp_path / "a.mp4").touch()
    (tmp_path / "wisa-80k.json").write_text(json.dumps([entry("a.mp4")]))
    with pytest.raises(UserError, match=r"1 not decoded yet.* same command tries them again, and"):
        wisa.curate(tmp_path, tmp_path / "out", seconds=9)


def test_absent_metadata_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="found: none"):
        wisa.read_metadata(tmp_path)


@pytest.mark.slow
def test_command_line(data, tmp_path, monkeypatch, capsys):
    from direct.prepare import __main__

    line = ["direct.prepare", "curate", "--wisa", str(data), "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", line)
    __main__.main()
    assert json.loads(capsys.readouterr().out)["kept"] == 2
