"""Video files are found by name, wherever they lie and however the system spells them."""

from __future__ import annotations

import errno
import os
import unicodedata

import pytest

from direct.data.find import Videos, is_video


@pytest.fixture
def root(tmp_path):
    def put(place):
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    for place in ("data/0/a.mp4", "data/1/B.MP4", "data/1/c.webm", "data/1/d.mkv", "data/1/e.mov"):
        put(f"root/{place}")
    put("root/data/wisa-80k.json")
    put("elsewhere/2/f.mp4")
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "root")  # and so on for ever
    (tmp_path / "root" / "gone.mp4").symlink_to(tmp_path / "nowhere")
    return tmp_path / "root"


def test_every_video_is_found_once(root):
    places = [path.relative_to(root).as_posix() for path in Videos(root).paths]
    assert places == [
        "data/0/a.mp4",
        "data/1/B.MP4",
        "data/1/c.webm",
        "data/1/d.mkv",
        "data/1/e.mov",
        "linked/2/f.mp4",
    ]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("a.mp4", "data/0/a.mp4"),
        ("a", "data/0/a.mp4"),
        ("B.mp4", "data/1/B.MP4"),
        ("c.mp4", "data/1/c.webm"),
        ("d.MP4", "data/1/d.mkv"),
        ("f.mp4", "linked/2/f.mp4"),
        ("b.mp4", None),  # another clip: ids differ by case
        ("a.json", None),
    ],
)
def test_a_name_finds_its_file(root, name, place):
    assert Videos(root).named(name) == ([root / place] if place else [])


def test_the_ending_that_was_asked_for_comes_first(root):
    (root / "a.mkv").touch()
    (root / "other" / "a.mp4").parent.mkdir()
    (root / "other" / "a.mp4").touch()
    found = Videos(root)
    assert found.named("a.mkv") == [root / "a.mkv"]
    assert found.named("a.mp4") == [root / "data/0/a.mp4", root / "other/a.mp4"]
    assert found.named("a.webm") == [root / "a.mkv", *found.named("a.mp4")]


@pytest.mark.parametrize(("disk", "asked"), [("NFD", "NFC"), ("NFC", "NFD"), ("NFD", "NFD")])
def test_both_spellings_of_unicode_are_one_name(tmp_path, disk, asked):
    path = tmp_path / unicodedata.normalize(disk, "Café") / unicodedata.normalize(disk, "é.mp4")
    path.parent.mkdir()
    path.touch()
    found = Videos(tmp_path)
    assert found.named(unicodedata.normalize(asked, "é.mp4")) == [path]
    assert found.at(unicodedata.normalize(asked, "Café/é.mov")) == [path]
    assert found.at("é.mp4") == []


def test_a_folder_that_cannot_be_read_is_not_an_empty_one(root, monkeypatch):
    scan = os.scandir

    def broken(path):
        if str(path).endswith("data/1"):
            raise OSError(errno.EIO, "Input/output error", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", broken)
    with pytest.raises(OSError, match="Input/output error"):
        Videos(root)


def test_endings():
    assert is_video("a.Mp4") and not is_video("a.json") and not is_video("mp4")
