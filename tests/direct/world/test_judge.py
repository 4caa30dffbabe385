"""The judge on ground truth, on violations, and on pictures that show nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from direct.world import corpus, render
from direct.world.corpus import Clip
from direct.world.impossible import EDITS
from direct.world.judge import METRICS, judge, plausibility
from direct.world.record import Record
from direct.world.render import film
from direct.world.track import read
from direct.world.validate import auc

GLIDE = Record("glide", "red", "white", "large", "quickly", "right", start=(0.2, 0.5, 0.5))
FULL = {
    "SA": 1,
    "PC": 1,
    "AVG": 1,
    "Instr": 3,
    "Frame": 1,
    "Temp": 1,
    "Mass": 1,
    "Penetr": 1,
    "Total": 7,
    "PCcap": 1,
}


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return corpus("validation", 60)


@pytest.fixture(scope="module")
def truth(clips):
    return [judge(clip.video(), clip.record) for clip in clips]


@pytest.mark.slow
def test_ground_truth_is_within_two_percent_of_full_marks(truth):
    for name in METRICS:
        assert np.mean([scores[name] for scores in truth]) > 0.98 * FULL[name], name
        assert all(0 <= scores[name] <= FULL[name] + 1e-9 for scores in truth)


@pytest.mark.slow
def test_tolerances_are_at_least_thrice_what_ground_truth_shows():
    """Every factor of 200 clips is above 2^-(1/3)^2, but for one in two hundred."""
    rows = []
    for clip in corpus("validation", 200):
        reading = read(clip.video())
        rows.append(plausibility(reading) | {"frame": judge(clip.video(), clip.record)["Frame"]})
    for name in rows[0]:
        if name != "still":  # a pour grows slowly, or a block soon rests
            assert np.percentile([row[name] for row in rows], 0.5) > 2 ** -(1 / 9), name


@pytest.mark.parametrize(("amplitude", "low", "high"), [(0.1, 0.97, 1), (1.5, 0, 0.2)])
def test_a_codecs_jitter_keeps_pc_and_a_shaking_object_loses_it(amplitude, low, high):
    shown = film(GLIDE)
    shake = np.random.default_rng(0).normal(0, amplitude, (len(shown.xy), 1))
    xy = shown.xy + np.stack([shake, 0 * shake], -1)
    assert low <= judge(render(GLIDE, replace(shown, xy=xy)), GLIDE)["PC"] <= high


@pytest.mark.slow
def test_noise_that_nobody_sees_keeps_its_marks_and_more_loses_them(clips):
    rng = np.random.default_rng(1)

    def mean(levels):
        rows = []
        for clip in clips[:12]:
            noise = rng.integers(-levels, levels + 1, clip.video().shape)
            noisy = np.clip(clip.video().astype(int) + noise, 0, 255).astype(np.uint8)
            rows.append(judge(noisy, clip.record))
        return {name: np.mean([row[name] for row in rows]) for name in ("Frame", "Temp", "SA")}

    assert min(mean(2).values()) > 0.99
    assert mean(16)["Frame"] < 0.6 and mean(16)["Temp"] < 0.3


@pytest.mark.slow
def test_frame_falls_with_blur(clips):
    def frame(sigma):
        videos = [gaussian_filter(clip.video() / 255, (0, sigma, sigma, 0)) for clip in clips]
        return np.mean([judge(v, c.record)["Frame"] for v, c in zip(videos, clips, strict=True)])

    marks = [frame(sigma) for sigma in (0.3, 0.6, 0.8, 1.3)]
    assert marks[0] > 0.99 and marks[1] < 0.9 and marks[2] < 0.5 and marks[3] < 0.2


@pytest.mark.slow
@pytest.mark.parametrize("edit", EDITS)
def test_impossible_edits_are_told_apart(edit, clips, truth):
    change, _, size, _ = EDITS[edit]
    right, wrong = [], []
    for clip, scores in zip(clips, truth, strict=True):
        edited = change(clip.record, size, np.random.default_rng(5))
        if edited is not None:
            right.append(scores["PC"])
            wrong.append(judge(render(clip.record, edited), clip.record)["PC"])
    assert len(right) >= 5
    assert auc(right, wrong) >= 0.98


@pytest.mark.slow
def test_shuffled_captions_lower_adherence_and_leave_pc_alone(clips, truth):
    shuffled = [judge(clip.video(), clips[i - 1].record) for i, clip in enumerate(clips)]

    def mean(rows, name):
        return np.mean([row[name] for row in rows])

    assert mean(shuffled, "SA") < 0.4 * mean(truth, "SA")
    assert mean(shuffled, "PCcap") < 0.4 * mean(truth, "PCcap")
    assert [row["PC"] for row in shuffled] == [row["PC"] for row in truth]


@pytest.mark.slow
def test_a_static_clip_scores_low(clips):
    rows = [
        judge(np.repeat(clip.video()[:1], 17, axis=0), clip.record)["PC"] for clip in clips[:20]
    ]
    assert np.mean(rows) < 0.05


@pytest.mark.parametrize(
    "video",
    [
        np.zeros((17, 32, 32, 3), np.uint8),
        np.full((17, 32, 32, 3), 255, np.uint8),
        np.random.default_rng(0).integers(0, 256, (17, 32, 32, 3), dtype=np.uint8),
    ],
    ids=["black", "white", "noise"],
)
def test_pictures_of_nothing_get_no_marks(video, clips):
    scores = judge(video, clips[0].record)
    assert set(scores) == set(METRICS) and np.isfinite(list(scores.values())).all()
    assert scores["SA"] < 0.1 and scores["PC"] < 0.1 and scores["PCcap"] < 0.1
