"""The judge on ground truth, on violations, and on pictures that show nothing."""

import numpy as np
import pytest

from direct.world import corpus, render
from direct.world.corpus import Clip
from direct.world.fit import admissible, best_fit
from direct.world.impossible import EDITS
from direct.world.judge import METRICS, TOLERANCE, judge
from direct.world.motion import parameters
from direct.world.record import draw
from direct.world.render import film
from direct.world.track import read
from direct.world.validate import auc

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


def test_ground_truth_is_within_two_percent_of_full_marks(truth):
    for name in METRICS:
        assert np.mean([scores[name] for scores in truth]) > 0.98 * FULL[name], name
        assert all(0 <= scores[name] <= FULL[name] + 1e-9 for scores in truth)


def test_tracks_are_exact_to_a_few_hundredths_of_a_pixel(clips):
    errors = []
    for clip in clips:
        if clip.record.scene in ("pour", "pendulum"):
            continue
        reading = read(clip.video())
        track = next(t for t in reading.tracks if t.color == clip.record.color)
        off = track.xy[track.clear] - film(clip.record).xy[track.clear, 0]
        errors.append(np.hypot(*off.T).mean())
    assert np.mean(errors) < 0.05


def test_the_fit_recovers_what_was_simulated():
    rng = np.random.default_rng(3)
    for scene in ("glide", "throw", "wall", "water"):
        record = draw(rng, scene)
        reading = read(render(record))
        fit = best_fit(reading, admissible(reading))
        assert fit is not None and fit.residual < TOLERANCE["dynamics"] / 5
        assert fit.values["vx"] == pytest.approx(parameters(record)["vx"][0], abs=0.06)


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


def test_shuffled_captions_lower_adherence_and_leave_pc_alone(clips, truth):
    shuffled = [judge(clip.video(), clips[i - 1].record) for i, clip in enumerate(clips)]

    def mean(rows, name):
        return np.mean([row[name] for row in rows])

    assert mean(shuffled, "SA") < 0.4 * mean(truth, "SA")
    assert mean(shuffled, "PCcap") < 0.4 * mean(truth, "PCcap")
    assert [row["PC"] for row in shuffled] == [row["PC"] for row in truth]


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


def test_auc_matches_counting():
    right, wrong = [0.9, 0.8, 0.5], [0.5, 0.1]
    assert auc(right, wrong) == pytest.approx((2 + 2 + 1 + 0.5) / 6)
