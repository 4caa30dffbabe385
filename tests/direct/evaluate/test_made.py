"""A folder's clips are one maker's, and a rater's answers are about the clips that are there."""

from __future__ import annotations

import json

import numpy as np
import pytest

from direct.common.errors import UserError
from direct.data import video
from direct.evaluate import made, rater, videophy

MAKER = {"pipeline": "CogVideoXPipeline", "weights": "owner/name@0", "seed": 0}


def clip(folder, prompt, brightness=0):
    path = rater.video_path(folder, prompt)
    path.parent.mkdir(parents=True, exist_ok=True)
    video.write_video(path, np.full((3, 16, 16, 3), brightness, np.uint8))
    return path


@pytest.fixture
def written(tmp_path, prompts):
    """A folder with the clips of one maker, noted as they are written."""
    folder = tmp_path / "made"
    made.claim(folder, MAKER)
    for prompt in prompts:
        made.note(clip(folder, prompt), prompt.caption)
    return folder


def test_a_folder_is_its_makers_and_anothers_is_refused(written):
    made.claim(written, dict(MAKER))
    for name, value in (("pipeline", "MochiPipeline"), ("weights", "owner/name@1"), ("seed", 1)):
        with pytest.raises(UserError, match=f"{name}={MAKER[name]}, not {value}; give another"):
            made.claim(written, MAKER | {name: value})
    with pytest.raises(UserError, match="made with settings=None, not "):
        made.claim(written, MAKER | {"settings": {"steps": 50}})


def test_clips_that_nobody_noted_are_refused(folder):
    with pytest.raises(UserError, match=r"no made\.json beside it says who made them"):
        made.claim(folder, MAKER)


def test_a_clip_counts_as_made_with_its_bytes_and_its_text(written, prompts):
    path = rater.video_path(written, prompts[0])
    assert made.is_made(path, prompts[0].caption)
    assert not made.is_made(path, "another text")
    clip(written, prompts[0], 200)
    assert not made.is_made(path, prompts[0].caption)
    path.unlink()
    assert not made.is_made(path, prompts[0].caption)


def test_a_foreign_clip_among_a_makers_is_refused(written, prompts, command):
    command(9)
    rater.rate(videophy, prompts, written)
    clip(written, prompts[1], 200)
    said = r"p1\.mp4 is not the clip that was made here \(pipeline=CogVideoXPipeline, seed=0"
    with pytest.raises(UserError, match=said):
        rater.rate(videophy, prompts, written)


def test_a_clip_that_is_replaced_is_rated_again(folder, prompts, command, capsys):
    command(9)
    first = rater.rate(videophy, prompts, folder)
    assert rater.rate(videophy, prompts, folder) == first
    before = (folder / "pc.csv").read_text()
    clip(folder, prompts[2], 200)
    command(2)  # a rater that gets as far as the second clip
    with pytest.raises(UserError, match="2 of 3 clips are judged, prompt p2 is not"):
        rater.rate(videophy, prompts, folder)
    said = capsys.readouterr().out
    assert "pc.csv.stale, since clips have changed after they were rated (1, p2 for one)" in said
    assert (folder / "pc.csv.stale").read_text() == before
    command(9)
    assert rater.rate(videophy, prompts, folder) == first, "the rater's scores are the places'"


def test_a_clip_replaced_between_request_and_answers_is_asked_about_again(folder, prompts, command):
    """By hand: the rater is run between two calls."""
    with pytest.raises(UserError, match="0 of 3"):
        rater.rate(videophy, prompts, folder)
    for name in videophy.ANSWERS:
        (folder / name).write_text("")
    clip(folder, prompts[0], 200)
    with pytest.raises(UserError, match="0 of 3"):
        rater.rate(videophy, prompts, folder)
    assert all((folder / f"{name}.stale").exists() for name in videophy.ANSWERS)
    assert json.loads((folder / made.ASKED).read_text()).keys() == {"p0", "p1", "p2"}


@pytest.mark.parametrize("text", ["3", '{"maker": 3}', '{"maker": {}, "clips": {"a": 3}}'])
def test_notes_that_are_none_are_one_sentence(written, prompts, text):
    path = rater.video_path(written, prompts[0])
    (written / made.MADE).write_text(text)
    for use in (
        lambda: made.claim(written, MAKER),
        lambda: made.note(path, "a ball"),
        lambda: made.is_made(path, "a ball"),
        lambda: made.ask(written, [path], []),
    ):
        with pytest.raises(
            UserError, match=r"made\.json does not say who made which clips; remove"
        ):
            use()
    (written / made.MADE).unlink()
    (written / made.ASKED).write_text("[1]")
    with pytest.raises(
        UserError, match=r"asked\.json is not an object of clips; remove it and the"
    ):
        made.ask(written, [path], [])
