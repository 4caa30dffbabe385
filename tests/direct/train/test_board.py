"""Live metrics as TensorBoard reads them."""

from __future__ import annotations

import sys

import pytest
from direct_helpers import lines_of

from direct.train.board import open_board


@pytest.mark.slow
def test_live_metrics_are_tensorboards(out):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    board = events.EventAccumulator(str(out / "resumed" / "tensorboard"))
    board.Reload()
    tags = set(board.Tags()["scalars"])
    terms = {f"distance/d_{term}" for term in ("fm", "rand", "hard", "anc")}
    others = {
        "loss/loss",
        "alignment/a_hard",
        "gradient/grad_norm",
        "gradient/clip_share",
        "speed/samples_per_second",
        "speed/memory_gib",
    }
    assert terms | others <= tags
    losses = board.Scalars("loss/loss")
    assert [event.step for event in losses] == [1, 2, 3, 4]  # what was done twice is there once
    told = [line["loss"] for line in lines_of(out / "resumed")]
    assert [event.value for event in losses] == pytest.approx(told, rel=1e-6)
    assert board.Scalars("gradient/clip_share")[0].value == 1  # norms above 1 throughout


def measured(norm, **more):
    return {"loss": 0.5, "d_fm": 1.0, "a_hard": None, "grad_norm": norm, "skipped": False} | more


def read(folder):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = events.EventAccumulator(str(folder))
    found.Reload()
    return found


@pytest.mark.slow
def test_the_share_of_clipped_steps_runs_on_and_null_is_not_written(tmp_path):
    board = open_board(tmp_path, start=0, batch=4, clip=1.0)
    for step, norm in enumerate((0.5, 2.0, None, 3.0), 1):
        board(step, measured(norm))
    found = read(tmp_path)
    shares = [event.value for event in found.Scalars("gradient/clip_share")]
    assert shares == pytest.approx([0, 1 / 2, 1 / 3, 2 / 4])
    assert [event.step for event in found.Scalars("gradient/grad_norm")] == [1, 2, 4]
    assert "alignment/a_hard" not in found.Tags()["scalars"]
    assert found.Scalars("distance/d_fm")[0].value == 1


def test_a_resumed_run_replaces_what_the_killed_one_wrote_beyond_its_checkpoint(tmp_path):
    first = open_board(tmp_path, start=0, batch=4, clip=1.0)
    for step in (1, 2, 3):
        first(step, measured(1.0, loss=float(step)))
    again = open_board(tmp_path, start=1, batch=4, clip=1.0)
    again(2, measured(1.0, loss=20.0))
    found = [(event.step, event.value) for event in read(tmp_path).Scalars("loss/loss")]
    assert found == [(1, 1.0), (2, 20.0)]


def test_without_tensorboard_training_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    board = open_board(tmp_path / "events", start=0, batch=4, clip=1.0)
    board(1, measured(1.0))
    assert "live metrics are off" in capsys.readouterr().err and not list(tmp_path.iterdir())
