"""VideoPhy's files and arithmetic."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from direct.common.errors import UserError
from direct.data.benchmarks import Prompt
from direct.evaluate import rater, videophy

DATA = Path(__file__).parents[4] / "shared" / "data" / "videophy"  # beside the checkout


def read_csv(path):
    with open(path, newline="") as handle:
        return list(csv.reader(handle))


def test_videophy_asks_in_upstreams_files_and_reads_the_answers(prompts, folder, command):
    command(99)
    records = rater.rate(videophy, prompts, folder)
    assert [record["prompt"] for record in records] == ["p0", "p1", "p2"]
    rows = read_csv(folder / "sa_testing.csv")
    assert rows[0] == ["videopath", "caption"] and len(rows) == 4
    assert rows[1][1].endswith('entail the description: "a "ball" no 0, falls"?\nAI: ')
    assert rows[1][0] == str(folder.resolve() / "videos" / "p0.mp4")
    assert records[2]["scores"] == pytest.approx(
        {"SA": 0.55, "PC": 0.2, "AVG": 0.375, "SA_hard": 1, "PC_hard": 0, "Joint": 0}
    )
    summary = videophy.summary(records)
    assert summary["solid_solid"]["n"] == 2 and summary["solid_fluid"]["n"] == 1
    assert summary["all"]["SA"] == pytest.approx((0.35 + 0.45 + 0.55) / 3)
    assert summary["all"]["SA_hard"] == pytest.approx(1 / 3)
    assert summary["solid_solid"]["PC"] == pytest.approx(0.1)


def test_threshold_is_inclusive():
    assert videophy.score({"SA": 0.5, "PC": 0.5})["Joint"] == 1
    assert videophy.score({"SA": 0.5, "PC": 0.4999})["Joint"] == 0


def test_the_last_of_repeated_rows_counts_and_a_torn_row_does_not(prompts, folder, command):
    command(3)
    rater.rate(videophy, prompts, folder)
    path = str(folder / "videos" / "p1.mp4")
    with open(folder / "pc.csv", "a", newline="") as handle:
        csv.writer(handle).writerow([path, videophy.PC, 0.77])
        handle.write(f'{path},"{videophy.PC}",0.0')
    records = rater.rate(videophy, prompts, folder)
    assert [r["scores"]["PC"] for r in records] == pytest.approx([0, 0.77, 0.2])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (["videos/p0.mp4", videophy.PC, "nan"], "not a score"),
        (["videos/p0.mp4", videophy.PC, "1.2"], "not a score"),
        (["videos/p0.mp4", videophy.PC], "2 fields"),
        (["videos/p9.mp4", videophy.PC, "0.5"], "not a clip of this request"),
        (["videos/p0.mp4", "another question?", "0.5"], "another question"),
    ],
)
def test_bad_rows_are_named(prompts, folder, command, row, message):
    with open(folder / "pc.csv", "w", newline="") as handle:
        csv.writer(handle).writerow(row)
    with pytest.raises(UserError, match=rf"row 1: .*{message}"):
        rater.rate(videophy, prompts, folder)


@pytest.mark.skipif(not DATA.exists(), reason="upstream's sample outputs are not here")
def test_upstreams_own_outputs_are_parsed(tmp_path):
    """The seven published examples, through our templates byte for byte."""
    rows = read_csv(DATA / "videocon_physics_sa_testing.csv")
    marks = [row[1].split('description: "')[1].rsplit('"?', 1)[0] for row in rows]
    prompts = [Prompt(Path(r[0]).stem, c) for r, c in zip(rows, marks, strict=True)]
    for question, (_, name) in videophy.FILES.items():
        data = (DATA / f"videocon_physics_{question.lower()}_testing.csv").read_text()
        (tmp_path / name).write_text(data)
    assert [row[1] for row in rows] == [videophy.SA.format(caption=mark) for mark in marks]
    answers = videophy.answers(prompts, tmp_path)
    got = [answers[prompt.name] for prompt in prompts]
    assert [round(a["PC"], 2) for a in got] == [0.94, 0.5, 0.22, 0.13, 0.11, 0.62, 0.59]
    assert [round(a["SA"], 3) for a in got] == [0.007, 0.0, 0.02, 0.009, 0.005, 0.953, 0.0]
