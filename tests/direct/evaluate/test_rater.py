"""Judges outside the process: nothing is skipped, and what fails is named."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from pathlib import Path

import pytest

from direct.common.errors import UserError
from direct.evaluate import rater, videophy, worldmodelbench


def test_too_few_rows_are_an_error_and_the_same_command_goes_on(prompts, folder, command):
    with pytest.raises(UserError, match=r"0 of 3 clips are judged.*entailment_inference"):
        rater.rate(videophy, prompts, folder)
    command(2)
    with pytest.raises(UserError, match="2 of 3 clips are judged, prompt p2 is not"):
        rater.rate(videophy, prompts, folder)
    command(3)
    assert len(rater.rate(videophy, prompts, folder)) == 3  # p0 and p1 are there twice by now
    assert len((folder / "pc.csv").read_text().splitlines()) == 5 * 4


UPSTREAM = {  # options of these scripts, as their argument parsers have them; True: required
    videophy.SCRIPT: {
        "--input_csv": True,
        "--output_csv": False,
        "--checkpoint": True,
        "--batch_size": False,
    },
    "evaluation.py": {
        "--judge": True,
        "--video_dir": True,
        "--model_name": True,
        "--save_name": False,
    },
}


@pytest.mark.parametrize("judge", [videophy, worldmodelbench])
def test_the_command_that_is_printed_runs_by_upstreams_options(judge, tmp_path):
    """From any folder, also one with a space; every answer file is written where it is read."""
    folder = tmp_path / "a folder"
    said = re.search(r"environment run: (.*) \([A-Z]+: ", judge.how(folder))[1]
    for line in said.split(" && "):
        python, script, *words = shlex.split(line)
        parser = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
        for option, required in UPSTREAM[script].items():
            parser.add_argument(option, required=required)
        given = parser.parse_args(words)
        assert python == "python"
        if judge is videophy:
            assert Path(given.output_csv).name in judge.ANSWERS
            places = given.input_csv, given.output_csv
        else:
            assert f"{Path(given.save_name).name}.json" in judge.ANSWERS
            assert f"{Path(given.save_name).name}_cot.json" in judge.ANSWERS
            places = given.video_dir, given.save_name
        assert all(Path(place).parent == folder for place in places)


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
