"""The law of a pour: rate and material are found again, and what is no pour is far from it."""

from dataclasses import replace

import numpy as np
import pytest

from direct.world.law import PACE, Candidate
from direct.world.motion import SPEED, SPEED_JITTER
from direct.world.pour import nearest
from direct.world.record import Record
from direct.world.render import film, render
from direct.world.track import read


def poured(material="sand", size="large", speed="quickly", pace=0.5, edit=None):
    record = Record("pour", "red", "white", size, speed, material=material, start=(0.5, 0.5, pace))
    shown = film(record)
    return read(render(record, edit(shown) if edit else shown)).tracks[0]


@pytest.mark.parametrize("material", ["sand", "water"])
@pytest.mark.parametrize(("speed", "pace"), [("slowly", 0.0), ("quickly", 0.9)])
def test_the_rate_and_the_material_are_found(material, speed, pace):
    rate = SPEED["pour"][speed] * (1 + SPEED_JITTER * (2 * pace - 1))
    rms, found, measured = nearest(poured(material, speed=speed, pace=pace), Candidate("pour"))
    assert found == material and measured == pytest.approx(rate, rel=0.05) and rms < 0.3


def test_a_caption_fixes_the_material_and_bounds_the_rate():
    track = poured("water", speed="quickly")
    right = nearest(track, Candidate("pour", "water", speed="quickly"))
    other = nearest(track, Candidate("pour", "sand", speed="quickly"))
    slow = nearest(track, Candidate("pour", "water", speed="slowly"))
    assert (other[1], slow[1]) == ("sand", "water") and right[0] < min(other[0], slow[0]) / 2
    assert slow[2] <= SPEED["pour"]["slowly"] * (1 + PACE) + 1e-9


def test_volume_that_vanishes_or_doubles_is_no_pour():
    def vanishing(shown):
        volume = shown.volume.copy()
        volume[6:11] = 0
        return replace(shown, volume=volume)

    def doubling(shown):
        return replace(shown, volume=np.where(np.arange(17) < 8, 1, 2) * shown.volume)

    lawful = nearest(poured(), Candidate("pour"))[0]
    for edit in (vanishing, doubling):
        assert nearest(poured(edit=edit), Candidate("pour"))[0] > max(5 * lawful, 0.6)
