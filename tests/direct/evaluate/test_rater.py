"""Judges outside the process: nothing is skipped, and what fails is named."""

from __future__ import annotations

import sys

import pytest

from direct.common.errors import UserError
from direct.evaluate import rater, videophy


def test_too_few_rows_are_an_error_and_the_same_command_goes_on(prompts, folder, command):
    with pytest.raises(UserError, match=r"0 of 3 clips are judged.*entailment_inference"):
        rater.rate(videophy, prompts, folder)
    command(2)
    with pytest.raises(UserError, match="2 of 3 clips are judged, prompt p2 is not"):
        rater.rate(videophy, prompts, folder)
    command(3)
    assert len(rater.rate(videophy, prompts, folder)) == 3  # p0 and p1 are there twice by now
    assert len((folder / "pc.csv").read_text().splitlines()) == 5 * 4


def test_a_missing_clip_is_an_error(prompts, folder, command):
    command(3)
    rater.video_path(folder, prompts[1]).unlink()
    with pytest.raises(UserError, match=r"1 of 3 clips are missing.*p1"):
        rater.rate(videophy, prompts, folder)


def test_a_rater_that_fails_is_named(prompts, folder, monkeypatch):
    monkeypatch.setenv(rater.COMMAND, f"'{sys.executable}' -c 'raise SystemExit(3)'")
    with pytest.raises(UserError, match="status 3"):
        rater.rate(videophy, prompts, folder)
    monkeypatch.setenv(rater.COMMAND, "no-such-program-here")
    with pytest.raises(UserError, match="no-such-program-here cannot be run"):
        rater.rate(videophy, prompts, folder)


def test_means_are_over_all_records():
    records = [{"scores": {"SA": value, "PC": 1}} for value in (0.0, 0.5, 1.0, 0.5)]
    assert rater.means(records) == {"n": 4, "SA": 0.5, "PC": 1}
    assert rater.means([]) == {"n": 0}


def test_a_command_is_split_as_a_shell_would(monkeypatch):
    monkeypatch.setenv(rater.COMMAND, "conda run -n 'video phy' python \"rate it.py\"")
    assert rater._command() == ["conda", "run", "-n", "video phy", "python", "rate it.py"]


def test_records_hold_the_prompts_own_description(prompts, folder, command):
    command(9)
    records = rater.rate(videophy, prompts, folder)
    assert [record["states_of_matter"] for record in records] == [
        prompt.about["states_of_matter"] for prompt in prompts
    ]
    assert [record["caption"] for record in records] == [prompt.caption for prompt in prompts]
