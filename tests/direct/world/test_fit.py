"""The nearest law: departures in closed form, constants and starts that were simulated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from direct.world import render
from direct.world.fit import best_fit, departure
from direct.world.judge import TOLERANCE
from direct.world.law import Candidate, admissible
from direct.world.motion import parameters, path
from direct.world.record import Record, draw
from direct.world.render import film
from direct.world.track import read


def test_a_jitter_is_not_counted_and_a_departure_is():
    """Against closed forms: alternating errors +-a have half-steps of 2 a^2, constant ones none."""
    counted = np.ones((16, 1), bool)
    alternating = np.where(np.arange(16) % 2, 1.0, -1.0)[:, None, None] * np.array([0.6, 0.8])
    for scale, want in ((0.1, 0.0), (0.2, 0.0), (0.5, np.sqrt(0.25 - 0.04)), (3.0, np.sqrt(8.96))):
        assert departure(scale * alternating, counted, 0.2) == pytest.approx(want, abs=1e-12)
        constant = np.full_like(alternating, scale)
        assert departure(constant, counted, 0.2) == pytest.approx(scale * np.sqrt(2))
    step = np.zeros((16, 1, 2))
    step[8:, 0, 0] = 1.0  # mean square 1/2, one step of 1 among 15: 1/30
    assert departure(step, counted, 0.2) == pytest.approx(np.sqrt(1 / 2 - 1 / 30))
    assert departure(step, np.arange(16)[:, None] >= 8, 0.2) == pytest.approx(1.0)
    assert departure(step, np.arange(16)[:, None] < 8, 0.2) == 0.0


@pytest.mark.parametrize("share", [-0.3, -0.1, 0.1, 0.3])
def test_wrong_constants_are_found_as_such(share):
    """A ball that the wall returns too fast or too slowly, between two materials' restitutions."""
    record = Record("wall", "red", "white", "small", "quickly", "right", "wood", "bounces")
    p = parameters(record)
    p["restitution"] = p["restitution"] * (1 + share)
    edited = replace(film(record), xy=path("wall", p)[0])
    readings = [read(render(record)), read(render(record, edited))]
    right, wrong = (best_fit(reading, admissible(reading)) for reading in readings)
    assert right is not None and right.constants < 0.02
    assert wrong is not None and wrong.constants > 0.1
    # What other constants explain is nearly all that is wrong.
    assert wrong.constants == pytest.approx(wrong.rms, rel=0.1)


def test_an_impact_in_the_first_frames_is_fitted():
    record = Record(
        "collide",
        "blue",
        "white",
        "large",
        "quickly",
        "right",
        "rubber",
        "bounces",
        "yellow",
        (0.8826366511581263, 0.13468016778790808, 0.6248687488469331),
    )
    p = parameters(record)
    p["restitution"] = p["restitution"] * np.sqrt(1.2)
    reading = read(render(record, replace(film(record), xy=path("collide", p)[0])))
    fit = best_fit(reading, admissible(reading))
    assert fit is not None and fit.rms < 0.1  # 0.6 from the line through four frames


def test_the_fit_recovers_what_was_simulated():
    rng = np.random.default_rng(3)
    for scene in ("glide", "throw", "wall", "water"):
        record = draw(rng, scene)
        reading = read(render(record))
        fit = best_fit(reading, admissible(reading))
        assert fit is not None and fit.residual < TOLERANCE["dynamics"] / 5
        assert fit.values["vx"] == pytest.approx(parameters(record)["vx"][0], abs=0.06)


@pytest.mark.parametrize(("special", "general"), [("drop", "throw"), ("collide", "meet")])
def test_a_law_with_free_starts_contains_its_special_case(special, general):
    rng = np.random.default_rng(5)
    for _ in range(6):
        record = draw(rng, special)
        reading = read(render(record))
        scenes = {candidate.scene for candidate in admissible(reading)}
        assert scenes == {general}
        law = [Candidate(special, record.material, record.contact)]
        narrow, wide = best_fit(reading, law), best_fit(reading, admissible(reading))
        assert wide.rms < narrow.rms + 1e-3
