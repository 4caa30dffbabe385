"""The judge's own validation."""

from __future__ import annotations

import pytest

from direct.world import corpus
from direct.world.impossible import EDITS
from direct.world.validate import auc, separations


def test_auc_matches_counting():
    right, wrong = [0.9, 0.8, 0.5], [0.5, 0.1]
    assert auc(right, wrong) == pytest.approx((2 + 2 + 1 + 0.5) / 6)


@pytest.mark.slow
def test_separations_takes_the_first_clips_that_an_edit_applies_to(monkeypatch):
    sizes = {name: (*edit[:3], (edit[2],)) for name, edit in EDITS.items()}
    monkeypatch.setattr("direct.world.validate.EDITS", {n: sizes[n] for n in ("freeze", "energy")})
    seen = []
    found = separations(
        corpus("validation", 30), 5, lambda videos: videos // 2, lambda *step: seen.append(step)
    )
    assert [(one.edit, one.clips) for one in found] == [("freeze", 5), ("energy", 5)]
    assert all(one.truth > 0.95 > one.reconstructed for one in found)
    assert seen == [("edits", 1, 2), ("edits", 2, 2)]
