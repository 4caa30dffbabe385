"""The plan's offer of cheaper hard negatives."""

from __future__ import annotations

import json

import pytest

from direct.common.errors import UserError
from direct.measure import cheap, plan
from direct.profiles import profile
from direct.settings import override

PAPER = profile("wan2.1-t2v-1.3b")
ROW = {
    "row": "full rendering",
    "verdict": "",
    "relative": 1.0,
    "steps": 12,
    "of_steps": 12,
    "solver": "euler",
    "cache": 0.0,
    "frames": "all",
    "hard_negative": "sampled",
}
UNIPC = ROW | {"row": "UniPC", "steps": 6, "relative": 0.5, "solver": "unipc"}
CACHED = ROW | {"row": "cached", "cache": 0.2, "relative": 0.7}


def said(path, *rows):
    path.write_text(json.dumps({"rendering": rows}))
    return cheap.offer(PAPER, path, lambda config: float(config.hard_sample.steps))


def test_the_cheapest_equivalent_is_offered_at_the_plans_own_steps(tmp_path):
    path = tmp_path / "cheap.json"
    same = {"verdict": "equivalent"}
    both = said(path, ROW, UNIPC | same, CACHED | same)
    assert "25.0 GPU-hours in place of 50.0" in both and "(UniPC: " in both
    assert "--set hard_sample.steps=25 --set render.solver=unipc" in both
    one = said(path, ROW, UNIPC | {"verdict": "not resolved"}, CACHED | same)
    assert "35.0 GPU-hours in place of 50.0 with --set render.cache=0.2" in one
    none = said(path, ROW, UNIPC, ROW | same | {"hard_negative": "mean"})
    assert "1 are equivalent and none of these is cheaper" in none


def test_of_two_at_one_price_the_nearest_is_offered_and_what_there_was_to_lose(tmp_path):
    same = {"verdict": "equivalent", "steps": 3}
    far = ROW | same | {"row": "Euler", "difference": -0.45}
    near = ROW | same | {"row": "UniPC", "solver": "unipc", "difference": -0.14}
    none = ROW | {"row": "none", "relative": 0.0, "difference": -0.67}
    for rows in ((far, near), (near, far)):
        text = said(tmp_path / "cheap.json", ROW | {"difference": None}, *rows, none)
        assert "--set hard_sample.steps=12 --set render.solver=unipc (UniPC: " in text
        assert text.endswith("; PC -0.14 points there, and -0.67 without any hard negative)")
    dear = said(tmp_path / "cheap.json", ROW, far | {"verdict": "", "steps": 12}, none)
    assert "of the 2 renderings" in dear and "0 are equivalent" in dear


def test_without_a_report_it_says_so_and_another_file_is_refused(tmp_path):
    path = tmp_path / "cheap.json"
    assert f"no report at {path}" in cheap.offer(PAPER, path, lambda config: 1.0)
    for text in (
        "{}",
        "[]",
        '{"rendering": [{}]}',
        json.dumps({"rendering": [ROW | {"steps": 1.5}]}),
        json.dumps({"rendering": [ROW | {"difference": "small"}]}),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match="is not the JSON of a table that says what"):
            cheap.offer(PAPER, path, lambda config: 1.0)


@pytest.mark.slow
def test_half_the_frames_cost_about_their_share_of_latents():
    """3 of 5, and a little for the text; of attention in the square of its tokens 9 of 25."""
    tiny = profile("tiny")
    half = cheap.flops(override(tiny, "render.frames=half")) / cheap.flops(tiny)
    assert 9 / 25 < half < 3 / 5 + 0.01


def test_the_mean_renders_all_negatives_of_a_clip_that_is_visited():
    few = override(PAPER, "train.steps=100")
    mean = override(few, "loss.hard_negative=mean")
    visits = 800 * (1 - few.train.prompt_dropout)
    assert plan.drawn(few) == pytest.approx(visits, rel=1e-6)
    assert plan.drawn(mean) == pytest.approx(3 * visits, rel=1e-6)
