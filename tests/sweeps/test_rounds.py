"""Planned looks and the levels they spend."""

import pytest

from sweeps.rounds import levels, planned
from sweeps.stats import ALPHA


@pytest.mark.parametrize("most", [*range(2, 30), 100, 9_999])
def test_looks_rise_to_the_cap_and_spend_alpha_exactly(most):
    looks = planned(most)
    assert looks[-1] == most and list(looks) == sorted(set(looks)) and len(looks) <= 4
    assert looks[0] >= min(most, 3)
    assert sum(levels(looks)) == pytest.approx(ALPHA, abs=1e-15) and min(levels(looks)) > 0


def test_by_hand():
    assert planned(12) == (3, 6, 9, 12) and planned(10) == (3, 6, 9, 10) and planned(3) == (3,)
    assert levels((3, 6)) == pytest.approx([0.0125, 0.0375]) and levels((5,)) == [ALPHA]
