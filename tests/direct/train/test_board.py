"""Live metrics as TensorBoard reads them."""

from __future__ import annotations

import pytest
from direct_helpers import lines_of


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
