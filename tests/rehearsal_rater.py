"""A rater for the rehearsal: another program, which knows the file contract and nothing of us.

It appends a row per clip as VideoPhy's `entailment_inference.py` does. Its scores mean nothing, but
they come from the pixels: how bright the clip is, and how much it moves.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import av
import numpy as np


def score(path: str, question: str) -> float:
    with av.open(path) as container:
        pixels = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    video = np.stack(pixels).astype(float) / 255
    return float(
        video.mean() if "entail" in question else 1 - np.abs(np.diff(video, axis=0)).mean()
    )


def main(folder: Path) -> None:
    for asked, said in (("sa_testing.csv", "sa.csv"), ("physics_testing.csv", "pc.csv")):
        with open(folder / asked, newline="") as requests, open(folder / said, "a") as answers:
            rows = list(csv.reader(requests))[1:]
            csv.writer(answers).writerows([path, text, score(path, text)] for path, text in rows)


if __name__ == "__main__":
    main(Path(sys.argv[-1]))
