"""A folder of mp4 files and captions, from the files to clips of the trained model."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from outside import EXAMPLES, ROOT

from direct.data.video import write_video


@pytest.mark.slow
def test_the_script_curates_trains_and_generates(tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    rng = np.random.default_rng(0)
    captions = ["file_name,caption"]
    for n, what in enumerate(("red ball", "blue box", "green ball", "yellow box")):
        write_video(videos / f"{n}.mp4", rng.integers(0, 255, (40, 32, 48, 3), np.uint8), 16)
        captions.append(f"{n}.mp4,a {what} falls")
    (tmp_path / "captions.csv").write_text("\n".join(captions) + "\n")
    (tmp_path / "prompts.txt").write_text("a red ball falls\na blue box falls\n")
    done = subprocess.run(
        ["sh", str(EXAMPLES / "own_data.sh"), "videos", "captions.csv", "prompts.txt"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHON": sys.executable, "STEPS": "2"},
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert '"kept": 4' in done.stdout
    assert (tmp_path / "own" / "transformer").is_dir()
    assert all((tmp_path / f"own-{n}.gif").stat().st_size > 100 for n in (1, 2))
