"""Records, and edits of one field."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from direct.world import AXES, caption, perturb, render
from direct.world.record import SCENES, draw


@pytest.mark.slow
def test_a_perturbation_edits_one_field_one_caption_and_the_picture():
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(300):
        record = draw(rng)
        for axis, field in AXES.items():
            edit = perturb(record, axis, rng)
            if edit is None:
                continue
            before, after = asdict(record), asdict(edit)
            assert {name for name in before if before[name] != after[name]} == {field}
            assert caption(edit) != caption(record)
            assert abs(render(edit).astype(int) - render(record)).max() > 20
            seen.add((record.scene, axis))
    assert {axis for _, axis in seen} == set(AXES)
    assert len(seen) == sum(len(axes_of(scene)) for scene in SCENES)


def axes_of(scene):
    kind = SCENES[scene]
    optional = {"material": kind.materials, "interaction": kind.contacts, "forces": kind.directions}
    return {axis for axis in AXES if optional.get(axis, True)}
