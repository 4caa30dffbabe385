"""A rater in a script of its own, and clips for it."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from direct.data import video
from direct.data.benchmarks import Prompt
from direct.evaluate import rater

RATER = """
import csv, sys
from pathlib import Path
folder = Path(sys.argv[-1])
limit = int(sys.argv[1])
for asked, said in (("sa_testing.csv", "sa.csv"), ("physics_testing.csv", "pc.csv")):
    rows = list(csv.reader(open(folder / asked, newline="")))[1:][:limit]
    with open(folder / said, "a", newline="") as handle:
        for n, (path, question) in enumerate(rows):
            assert Path(path).is_file()
            score = n / 10 + (0.35 if "entail" in question else 0)
            csv.writer(handle).writerow([path, question, score])
"""


@pytest.fixture
def prompts():
    states = ["solid_solid", "solid_fluid", "solid_solid"]
    return [
        Prompt(f"p{n}", f'a "ball" no {n}, falls', {"states_of_matter": state})
        for n, state in enumerate(states)
    ]


@pytest.fixture
def folder(tmp_path, prompts):
    frames = np.zeros((3, 16, 16, 3), np.uint8)
    for prompt in prompts:
        video.write_video(rater.video_path(tmp_path, prompt), frames)
    return tmp_path


@pytest.fixture
def command(tmp_path, monkeypatch):
    script = tmp_path / "rater.py"
    script.write_text(RATER)

    def use(limit):
        monkeypatch.setenv(rater.COMMAND, f"'{sys.executable}' '{script}' {limit}")

    monkeypatch.delenv(rater.COMMAND, raising=False)
    return use
