"""From pixels to tracks."""

from __future__ import annotations

import numpy as np
import pytest

from direct.world import corpus, render
from direct.world.corpus import Clip
from direct.world.judge import plausibility
from direct.world.record import Record
from direct.world.render import film
from direct.world.track import read


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return corpus("validation", 60)


@pytest.mark.slow
def test_tracks_are_exact_to_a_few_hundredths_of_a_pixel(clips):
    errors = []
    for clip in clips:
        if clip.record.scene in ("pour", "pendulum"):
            continue
        reading = read(clip.video())
        track = next(t for t in reading.tracks if t.color == clip.record.color)
        off = track.xy[track.clear] - film(clip.record).xy[track.clear, 0]
        errors.append(np.hypot(*off.T).mean())
    assert np.mean(errors) < 0.05


def test_what_leaves_the_picture_keeps_its_marks():
    leaving = Record("glide", "red", "white", "large", "quickly", "right", start=(0.99, 0.5, 0.99))
    reading = read(render(leaving))
    assert not reading.tracks[0].clear.all()
    assert plausibility(reading)["lawful"] > 0.98
