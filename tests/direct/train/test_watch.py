"""What is told of a training while it runs, and that the training is not touched by it."""

from __future__ import annotations

import importlib.util
import math

import pytest
import torch
from direct_helpers import Killed, board_of, bytes_of, killed_at, lines_of, numbered_anew
from PIL import Image

from direct.config import Run
from direct.data.video import probe
from direct.evaluate import clips
from direct.models import clip
from direct.train import loop, watch

TERMS = {f"distance/d_{term}" for term in ("fm", "rand", "hard", "anc")}
OTHERS = {
    "loss/loss",
    "alignment/a_hard",
    "gradient/grad_norm",
    "gradient/clip_share",
    "speed/samples_per_second",
    "speed/memory_gib",
}


@pytest.mark.slow
def test_a_watched_training_is_the_same_to_the_bit_and_all_of_it_is_told(
    small, tmp_path, monkeypatch
):
    numbered_anew(monkeypatch)
    loop.train(Run(small(), tmp_path / "cache", tmp_path / "plain"))
    config = small(train__report_to="tensorboard", train__sample_every=4)
    run = Run(config, tmp_path / "cache", tmp_path / "watched", progress=killed_at(("train", 5)))
    for _ in range(2):  # killed a step beyond a checkpoint and a clip, and resumed
        try:
            loop.train(run)
        except Killed:
            continue
    assert bytes_of(tmp_path / "watched") == bytes_of(tmp_path / "plain")

    board, lines = board_of(run.folder), lines_of(run.folder)
    assert set(board.Tags()["scalars"]) >= TERMS | OTHERS
    for name, key in (("loss/loss", "loss"), ("distance/d_hard", "d_hard")):
        told = [(event.step, event.value) for event in board.Scalars(name)]
        wanted = [(line["step"], line[key]) for line in lines if line[key] is not None]
        assert [step for step, _ in told] == [step for step, _ in wanted]  # each step once
        assert [x for _, x in told] == pytest.approx([x for _, x in wanted], rel=1e-6)
    made = sorted(path.name for path in (run.folder / "samples").iterdir())
    assert made == ["step-00000004-1.mp4", "step-00000004-2.mp4"]
    assert probe(run.folder / "samples" / made[0])["frames"] == 5
    assert [event.step for event in board.Images("samples/2")] == [4]


@pytest.mark.slow
def test_the_clip_of_the_last_step_is_the_clip_that_is_judged(small, tmp_path, monkeypatch):
    """Same weights, prompt, noise and sampler: the latents of the evaluation."""
    found, left = [], []
    decoded, show = clip.decoded, watch._show

    def showing(*arguments):
        before = torch.get_rng_state()
        show(*arguments)
        left.append(torch.equal(before, torch.get_rng_state()))

    monkeypatch.setattr(watch, "_show", showing)
    monkeypatch.setattr(clip, "decoded", lambda m, z: found.append(z) or decoded(m, z))
    monkeypatch.setattr(watch, "find_spec", lambda name: None)  # no PyAV
    config = small(train__steps=1, train__sample_every=1, evaluate__prompts=2)
    run = Run(config, tmp_path / "cache", tmp_path / "run")
    loop.train(run)
    clips.generate(run)
    judged = clips.load_arrays(run.folder / "samples.safetensors")["latents"]
    assert len(found) == 2 and left == [True]
    for one, other in zip(found, judged, strict=True):
        assert torch.allclose(one[0], other, atol=1e-4) and other.std() > 0.1
    with Image.open(run.folder / "samples/step-00000001-1.gif") as image:
        assert image.size == (16, 16)


def test_nothing_is_made_that_is_not_asked_for(small, tmp_path):
    run = Run(small(), tmp_path / "cache", tmp_path / "run")
    assert watch.prompts(run) is None and not (tmp_path / "cache").exists()
    with watch.watched(run, 0, None, None) as tell:
        tell(1, {"loss": 1.0})
    assert not run.folder.exists()


def test_the_share_of_clipped_steps_runs_on_and_null_is_not_told(small, tmp_path):
    values = watch._values(Run(small(), tmp_path))
    line = {"loss": 0.5, "d_fm": 1.0, "a_hard": None, "skipped": False}
    told = [values(line | {"grad_norm": norm}) for norm in (0.5, 2.0, None, 3.0)]
    assert [x["gradient/clip_share"] for x in told] == [0, 1 / 2, 1 / 3, 2 / 4]
    assert ["gradient/grad_norm" in x for x in told] == [True, True, False, True]
    assert "alignment/a_hard" not in told[0] and told[0]["distance/d_fm"] == 1
    assert told[0]["gradient/skipped"] == 0 and math.isfinite(told[1]["speed/memory_gib"])


@pytest.mark.slow
def test_two_ranks_are_watched_by_the_first(out):
    """Killed, stopped and resumed; `test_loop` has that its bytes are the unwatched run's."""
    events = [event.step for event in board_of(out / "resumed").Scalars("loss/loss")]
    assert events == [1, 2, 3, 4]
    made = sorted(path.name for path in (out / "resumed" / "samples").iterdir())
    kind = "mp4" if importlib.util.find_spec("av") else "gif"
    assert made == [f"step-{step:08d}-{k}.{kind}" for step in (2, 4) for k in (1, 2)]
