"""Each tracker is told by its own library, or the user is told how to get it."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from direct_helpers import board_of, numbered_anew
from PIL import Image

from direct.common.errors import UserError
from direct.config import Run
from direct.train import trackers


@pytest.fixture
def run(small, tmp_path):
    return lambda name: Run(small(train__report_to=name), tmp_path / "cache", tmp_path / "run")


VIDEO = np.random.default_rng(0).integers(0, 256, (5, 16, 640, 3), dtype=np.uint8)


@pytest.mark.slow
def test_a_resumed_run_replaces_what_the_killed_one_wrote_beyond_its_checkpoint(
    run, tmp_path, monkeypatch
):
    numbered_anew(monkeypatch)
    first = trackers.opened(run("tensorboard"), 0)
    for step in (1, 2, 3):
        first.scalars({"loss/loss": float(step)}, step)
    first.clip("samples/1", tmp_path / "unread.mp4", VIDEO, 1)
    first.close()
    again = trackers.opened(run("tensorboard"), 1)
    again.scalars({"loss/loss": 20.0}, 2)
    again.close()
    found = board_of(tmp_path / "run")
    scalars = [(event.step, event.value) for event in found.Scalars("loss/loss")]
    assert scalars == [(1, 1.0), (2, 20.0)]
    (image,) = found.Images("samples/1")
    assert (image.step, image.width, image.height) == (1, 320, 8)  # half of each side
    (tmp_path / "clip.gif").write_bytes(image.encoded_image_string)
    with Image.open(tmp_path / "clip.gif") as clip:
        assert clip.n_frames == 5 and clip.size == (320, 8)


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio"])
def test_a_library_that_is_not_there_is_one_sentence(run, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=rf"report_to={name} needs {name}.*pip install {name}$"):
        trackers.check(run(name).config)
    trackers.check(run("none").config)


def test_a_folder_of_that_name_is_no_library(run, monkeypatch, tmp_path):
    """wandb leaves one where it ran."""
    (tmp_path / "trackio").mkdir()
    monkeypatch.delitem(sys.modules, "trackio", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(UserError, match="not installed"):
        trackers.check(run("trackio").config)


def recorder(told):
    """A library that notes what it is told, with the names and keywords of wandb and trackio."""

    def note(what):
        return lambda *given, **named: told.append((what, given, named))

    def init(**settings):
        told.append(("init", (), settings))
        return SimpleNamespace(log=note("log"), finish=note("finish"))

    def video(path, **more):
        return ("video", str(path), more)

    spec = SimpleNamespace(origin="somewhere")
    return SimpleNamespace(init=init, finish=note("finish"), Video=video, __spec__=spec)


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_what_the_other_two_are_told(run, monkeypatch, tmp_path, name):
    told = []
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    monkeypatch.setitem(sys.modules, name, recorder(told))
    tracker = trackers.opened(run(name), 0)
    tracker.scalars({"loss/loss": 0.5}, 3)
    tracker.clip("samples/1", tmp_path / "a.mp4", VIDEO, 3)
    tracker.close()
    settings, scalars, clip, end = (named | {"given": given} for _, given, named in told)
    assert settings["project"] == "direct" and settings["resume"] == "allow"
    assert settings["name"].startswith("run") and settings["config"]["train"]["report_to"] == name
    assert scalars == {"given": ({"loss/loss": 0.5},), "step": 3}
    assert clip["given"][0]["samples/1"][:2] == ("video", str(tmp_path / "a.mp4"))
    assert told[-1][0] == "finish" and clip["step"] == 3 and end["given"] == ()


def test_one_that_cannot_start_is_one_sentence(run, monkeypatch):
    def refused(**settings):
        raise RuntimeError("no account:\n log in first")

    spec = SimpleNamespace(origin="somewhere")
    library = SimpleNamespace(init=refused, __spec__=spec)
    monkeypatch.setitem(sys.modules, "wandb", library)
    with pytest.raises(UserError, match=r"cannot start .RuntimeError: no account: log in first"):
        trackers.opened(run("wandb"), 0)
    assert trackers.opened(run("none"), 0) is None
