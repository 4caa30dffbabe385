"""The loss in a plain training loop: it runs from outside, and the distance falls."""

from __future__ import annotations

import pytest
from outside import EXAMPLES, run


@pytest.mark.slow
def test_the_loop_trains(tmp_path):
    lines = run(tmp_path, str(EXAMPLES / "plain_loop.py")).splitlines()
    losses = [float(line.split()[1]) for line in lines]
    assert [line.split()[0] for line in lines] == ["0", "1", "2", "3"]
    assert all(0 < loss < 10 for loss in losses)
