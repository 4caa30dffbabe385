"""A line of metrics.jsonl: means over what a term applies to."""

from __future__ import annotations

import math

import pytest
import torch

from direct.train.metrics import line

NAN = math.nan


def rows(*samples):
    return torch.tensor(samples, dtype=torch.float32)


def test_means_are_over_the_samples_that_a_term_applies_to():
    found = line(
        rows(
            [1, 2, 3, 4, 0.5, -1, 1, 1, 1, 1, 10],
            [3, 8, 5, 6, 0.1, -3, 1, 0, 1, 1, 20],
            [5, 6, 9, 8, 0.3, 9, 1, 1, 0, 1, 60],
        ),
        norm=2.5,
    )
    assert (found["d_fm"], found["d_rand"], found["d_hard"], found["d_anc"]) == (3, 4, 4, 6)
    assert found["a_rand"] == pytest.approx(0.4) and found["a_hard"] == -2
    assert (found["contrasted_rand"], found["contrasted_hard"]) == (2, 2)
    assert found["loss"] == 30 and found["grad_norm"] == 2.5 and found["skipped"] is False


def test_a_term_that_is_off_or_applies_to_nobody_is_null():
    found = line(rows([1, NAN, 3, NAN, NAN, 2, 1, 1, 0, 1, 4]), norm=1.0)
    assert found["d_rand"] is found["a_rand"] is found["d_anc"] is None
    assert found["d_hard"] is found["a_hard"] is None, "weight 0 throughout"
    assert (found["contrasted_rand"], found["contrasted_hard"]) == (0, 0)
    assert found["d_fm"] == 1 and found["loss"] == 4


@pytest.mark.parametrize("norm", [NAN, math.inf])
def test_a_norm_that_is_not_finite_is_a_skipped_step(norm):
    found = line(rows([1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]), norm)
    assert found["skipped"] is True and found["grad_norm"] is None
