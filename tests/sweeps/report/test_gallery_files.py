"""A gallery's files: written, read, damaged; a hostile caption is text."""

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from made_up import EVIL

from direct.common.files import canonical_json, digest
from sweeps.report import gallery, gallery_files
from sweeps.report.template import fill

from .galleries import CELLS, made


@pytest.fixture
def stages(monkeypatch, tmp_path):
    return made(monkeypatch, tmp_path)[:3]


@pytest.mark.slow
def test_written_read_and_drawn_again_without_decoding(stages, tmp_path):
    results, decoded, root = stages
    found = gallery.gather(CELLS, root, root)
    paths = gallery_files.write(found, tmp_path / "a")
    assert {path.name for path in paths} == {
        "gallery.json",
        *(f"{f.name}.{kind}" for f in gallery.FIGURES for kind in ("svg", "md")),
    }
    read = gallery_files.read(tmp_path / "a")
    assert read == found
    before = len(decoded)
    assert gallery.gather(CELLS, root, root, read) is read and len(decoded) == before
    for path in gallery_files.write(read, tmp_path / "b"):
        assert path.read_bytes() == (tmp_path / "a" / path.name).read_bytes()
    results[CELLS[0].id]["checksum"] = "another"
    gallery.gather(CELLS, root, root, read)
    assert len(decoded) > before, "computed again from other results"


@pytest.mark.parametrize("damage", ["edited", "torn", "script"])
def test_a_damaged_gallery_is_set_aside(found, tmp_path, capsys, damage):
    gallery_files.write(found, tmp_path)
    path = tmp_path / "gallery.json"
    record = json.loads(path.read_text())
    if damage == "script":  # well formed, but what should be a picture is not one
        record.pop("checksum")
        record["examples"][0]["clips"][0]["picture"] = 'data:image/png;base64,AA" onload="x'
        record |= {"checksum": digest(record, 64)}
    record["prompts"] += damage == "edited"
    text = canonical_json(record)
    path.write_text(text[:-20] if damage == "torn" else text)
    assert gallery_files.read(tmp_path) is None
    assert "set aside" in capsys.readouterr().out and not path.exists()


def test_a_hostile_caption_is_text(found, tmp_path):
    evil = EVIL + '"><img src=x onerror=alert(1)></svg>'
    found = replace(
        found, judge=evil, examples=tuple(replace(x, prompt=evil) for x in found.examples)
    )
    gallery_files.write(found, tmp_path)
    for text in (
        fill("gallery.html", clips=gallery_files.shown(found)),
        (tmp_path / "figure_1.svg").read_text(),
        (tmp_path / "figure_1.md").read_text(),
    ):
        assert not re.search(r"<script|<img|\x1b|\u202e", text)
    ET.fromstring((tmp_path / "figure_1.svg").read_text())


def test_a_folder_without_one_has_none(tmp_path):
    assert gallery_files.read(tmp_path) is None
