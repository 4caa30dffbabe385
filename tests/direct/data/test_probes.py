"""The journal of what decoding showed: only what is certain stays in it."""

from __future__ import annotations

import json

import pytest
from small_video import encoded

from direct.common.errors import UserError
from direct.data import probes
from direct.data.decode import Unreadable


@pytest.fixture
def files(tmp_path):
    (tmp_path / "good.mp4").write_bytes(encoded(6))
    (tmp_path / "cut.mp4").write_bytes(encoded(6)[:900])
    (tmp_path / "slow.mp4").write_bytes(encoded(5))
    return [tmp_path / name for name in ("cut.mp4", "good.mp4", "slow.mp4")]


class Scripted:
    """A child in this process, whose calls for slow.mp4 fail as often as is said."""

    failures = 0
    calls: list[str] = []  # noqa: RUF012

    def call(self, function, path, seconds):
        Scripted.calls.append(path.name)
        if path.name == "slow.mp4" and Scripted.failures:
            Scripted.failures -= 1
            raise Unreadable(f"decoding took more than {seconds:g} s", passing=True)
        try:
            return function(path)
        except OSError as error:
            raise Unreadable(str(error), passing=True) from None

    def __exit__(self, *fault):
        pass


@pytest.fixture
def look(files, tmp_path, monkeypatch):
    """look(failures): what is found, and which files were decoded for it."""
    monkeypatch.setattr(probes, "Child", Scripted)

    def run(failures=0):
        Scripted.failures, Scripted.calls = failures, []
        found = probes.probed(tmp_path, files, tmp_path / "out" / "probes.jsonl", 1, 9)
        return {path.name: found[path] for path in files}, Scripted.calls

    return run


def lines(tmp_path):
    return [json.loads(x) for x in (tmp_path / "out" / "probes.jsonl").read_text().splitlines()]


def test_a_fault_that_may_pass_is_tried_once_more_when_the_others_are_done(look):
    found, calls = look(failures=1)
    assert calls == ["cut.mp4", "good.mp4", "slow.mp4", "slow.mp4"]
    assert found["slow.mp4"]["frames"] == 5 and "passing" not in found["slow.mp4"]


def test_it_is_not_written_down_and_the_next_run_tries_again(look, tmp_path):
    found, calls = look(failures=2)
    assert found["slow.mp4"]["passing"] and "more than 9 s" in found["slow.mp4"]["fault"]
    assert sorted(line["key"].split()[0] for line in lines(tmp_path)) == ["cut.mp4", "good.mp4"]
    found, calls = look()
    assert calls == ["slow.mp4"] and found["slow.mp4"]["frames"] == 5


def test_damage_stays(look):
    first, _ = look()
    again, calls = look()
    assert not calls and again == first
    assert "fault" in first["cut.mp4"] and len(first["cut.mp4"]["sha256"]) == 64
    assert first["good.mp4"]["fps"] == 8


def test_a_file_that_changed_or_has_an_older_line_is_decoded_again(look, files, tmp_path):
    look()
    files[0].write_bytes(encoded(7))
    found, calls = look()
    assert calls == ["cut.mp4"] and found["cut.mp4"]["frames"] == 7
    journal = tmp_path / "out" / "probes.jsonl"
    old = [{k: v for k, v in line.items() if k != "version"} for line in lines(tmp_path)]
    journal.write_text("".join(json.dumps(line) + "\n" for line in old))
    assert len(look()[1]) == 3 and not look()[1]


def test_a_file_that_cannot_be_read_is_no_damage(look, files):
    files[1].unlink()
    files[1].mkdir()  # root may read any file, but none may read a folder
    found, _ = look()
    assert found["good.mp4"]["passing"] and "fault" not in found["slow.mp4"]


def test_without_pyav_no_file_is_at_fault(look, monkeypatch, tmp_path):
    def missing():
        raise UserError("video files need PyAV")

    monkeypatch.setattr(probes, "av", missing)
    with pytest.raises(UserError, match="need PyAV"):
        look()
    assert not (tmp_path / "out").exists()
