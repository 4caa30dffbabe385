"""An impossible edit shows what no law shows."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.optimize import least_squares

from direct.world import render
from direct.world.impossible import EDITS, SEEN, TOLD_APART, applies, gain_energy, reverse_gravity
from direct.world.judge import judge
from direct.world.motion import FRICTION, RESTITUTION, parameters, path
from direct.world.record import Record, draw
from direct.world.track import read


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.2, 0.8])
def test_an_energy_edit_is_half_a_pixel_from_every_law_with_the_same_start(share):
    rng, applied = np.random.default_rng(2), 0
    for _ in range(200):
        record = draw(rng)
        edited = gain_energy(record, share, rng)
        if edited is None:
            continue
        applied += 1
        for e, friction in product([0.0, *RESTITUTION.values()], FRICTION.values()):
            p = parameters(record)
            p |= {
                k: np.array([v]) for k, v in (("restitution", e), ("friction", friction)) if k in p
            }
            assert abs(path(record.scene, p)[0] - edited.xy).max() > SEEN
    assert applied > 30


@pytest.mark.slow
def test_an_energy_edit_that_another_start_explains_does_not_apply():
    """Twenty percent after a late collision: other speeds before it bring the law within 1/8 px."""
    rng, applied = np.random.default_rng(3), {0.2: 0, 0.8: 0}
    for _ in range(40):
        record = draw(rng, "collide")
        for share in applied:
            edited = gain_energy(record, share, rng)
            if edited is None:
                continue
            applied[share] += 1
            assert off_the_nearest_law(record, edited) > 0.9 * TOLD_APART
    assert applied[0.2] <= 2 and applied[0.8] > 5


def off_the_nearest_law(record, edited):
    """By scipy: the largest departure of the nearest film in least squares, starts free."""
    best = None
    for e in (0.0, *RESTITUTION.values()):
        p = {name: np.array(value, float) for name, value in parameters(record).items()}
        p["restitution"] = np.array([e])
        names = ("x", "vx", "other_x", "other_vx")

        def errors(theta, p=p, names=names):
            values = p | {name: np.array([v]) for name, v in zip(names, theta, strict=True)}
            return (path("meet", values)[0] - edited.xy)[..., 0].ravel()

        start = [float(np.ravel(p[name])[0]) for name in names]
        found = least_squares(errors, start, diff_step=1e-6)
        if best is None or found.cost < best.cost:
            best = found
    return abs(best.fun).max()


def test_an_edit_that_turns_wood_into_rubber_is_not_impossible():
    wood = Record("wall", "red", "white", "small", "quickly", "right", "wood", "bounces")
    rubber = (RESTITUTION["rubber"] / RESTITUTION["wood"]) ** 2 - 1
    rng = np.random.default_rng(0)
    assert gain_energy(wood, rubber, rng) is None
    assert gain_energy(wood, 0.2, rng) is not None


def test_a_block_about_to_rest_has_no_energy_to_gain():
    block = Record("slide", "red", "white", "small", "slowly", "right", "rubber")
    assert gain_energy(block, 0.2, np.random.default_rng(0)) is None


@pytest.mark.parametrize("scene", ["throw", "drop"])
def test_a_ball_stuck_at_the_upper_edge_is_seen_to_be_stuck(scene):
    record = draw(np.random.default_rng(4), scene)
    film = reverse_gravity(record, 1.0, np.random.default_rng(0))
    video = render(record, film)
    reading = read(video)
    assert reading.tracks[0].clear.sum() < 9  # cut by the edge in most frames
    assert judge(video, record)["PC"] < 0.01


@pytest.mark.slow
def test_every_impossible_edit_applies_somewhere_and_changes_the_film():
    rng = np.random.default_rng(0)
    found = set()
    for _ in range(100):
        record = draw(rng)
        for name in applies(record):
            film = EDITS[name][0](record, EDITS[name][2], np.random.default_rng(1))
            if film is not None:
                assert (render(record, film) != render(record)).any()
                found.add(name)
    assert found == set(EDITS)
