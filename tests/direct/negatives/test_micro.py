"""MiNS: candidates, the cosine filter, retention, and the draw of one kept negative."""

from __future__ import annotations

import numpy as np
import pytest

from direct.negatives import micro

AXES = ("kinematics", "forces", "material")


def perturb(axis: str, rng: np.random.Generator) -> str | None:
    if axis == "forces":
        return None  # makes no sense in this scene
    return f"a ball {axis} {rng.integers(4)}"


def test_candidates_are_distinct_no_echoes_and_pure():
    found = micro.candidates("clip", "a  BALL kinematics 2 ", perturb, AXES, 10)
    prompts = [prompt for _, prompt in found]
    assert len(set(prompts)) == len(prompts) == 7  # 2 axes x 4 values, less the echo
    assert "a ball kinematics 2" not in prompts
    assert all(axis in prompt for axis, prompt in found) and {a for a, _ in found} == set(AXES) - {
        "forces"
    }
    assert micro.candidates("clip", "a  BALL kinematics 2 ", perturb, AXES, 10) == found
    assert micro.candidates("other", "a  BALL kinematics 2 ", perturb, AXES, 10) != found
    assert len(micro.candidates("clip", "x", perturb, AXES, 3)) == 3
    assert micro.candidates("clip", "x", lambda axis, rng: None, AXES, 3) == []


def test_axes_are_drawn_evenly():
    found = micro.candidates("c", "x", lambda axis, rng: f"{axis} {rng.random()}", AXES, 3000)
    shares = np.bincount([AXES.index(axis) for axis, _ in found]) / 3000
    np.testing.assert_allclose(shares, 1 / 3, atol=0.03)


def test_the_nearest_above_the_threshold_are_kept():
    found = [("material", f"p{n}") for n in range(5)]
    cosines = [0.90, 0.87, 0.8699, 0.99, 0.95]
    kept = micro.select(found, cosines, 0.87, 3)
    assert [entry["prompt"] for entry in kept] == ["p3", "p4", "p0"]
    assert [entry["prompt"] for entry in micro.select(found, cosines, 0.87, 9)] == [
        "p3",
        "p4",
        "p0",
        "p1",
    ]
    assert micro.select([], [], 0.87, 3) == []


def test_cosine_is_scipys():
    from scipy.spatial.distance import cosine

    rng = np.random.default_rng(0)
    z, others = rng.normal(size=6), rng.normal(size=(4, 6))
    np.testing.assert_allclose(micro.cosine(z, others), [1 - cosine(z, o) for o in others])


def test_retention_counts_each_stage_overall_and_per_axis():
    found = [[("material", "a"), ("forces", "b"), ("forces", "c")], [("material", "d")], []]
    cosines = [[0.9, 0.95, 0.5], [0.1], []]
    kept = [micro.select(f, c, 0.87, 1) for f, c in zip(found, cosines, strict=True)]
    report = micro.retention(found, cosines, kept, 0.87)
    assert report["overall"] == {"candidates": 4, "passed": 2, "kept": 1}
    assert report["by_axis"]["material"] == {"candidates": 2, "passed": 1, "kept": 0}
    assert report["by_axis"]["forces"] == {"candidates": 2, "passed": 1, "kept": 1}
    assert report["prompts"] == 3 and report["prompts_without"] == 2
    assert report["prompts_by_kept"] == {"0": 2, "1": 1}


def test_one_of_the_kept_is_drawn_uniformly_and_none_where_there_is_none():
    counts = np.array([3, 0, 1, 2])
    drawn = np.stack([micro.draw(0, step, counts) for step in range(3000)])
    assert (drawn[:, 1] == -1).all() and (drawn[:, 2] == 0).all()
    np.testing.assert_allclose(np.bincount(drawn[:, 0]) / 3000, 1 / 3, atol=0.03)
    np.testing.assert_allclose(np.bincount(drawn[:, 3]) / 3000, 1 / 2, atol=0.03)
    assert np.array_equal(micro.draw(0, 5, counts), drawn[5])
    assert drawn[:, 0].mean() == pytest.approx(1, abs=0.05)
