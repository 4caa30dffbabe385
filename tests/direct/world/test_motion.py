"""Closed-form motion against step-by-step integration and conservation laws."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from direct.world.motion import (
    FLOOR,
    FRAMES,
    GRAVITY,
    OTHER_RADIUS,
    PIVOT,
    SIZE,
    WALL,
    bounce,
    parameters,
    path,
    period,
    pour_volume,
)
from direct.world.record import SCENES, draw
from direct.world.render import film

TIMES = np.arange(FRAMES)


def integrate(y, vy, restitution, rest, dt=1e-4):
    """Free fall with impacts, by small steps: y at every frame."""
    heights, per_frame = [], round(1 / dt)
    for step in range(per_frame * (FRAMES - 1) + 1):
        if step % per_frame == 0:
            heights.append(y)
        y, vy = y + vy * dt + 0.5 * GRAVITY * dt * dt, vy + GRAVITY * dt
        if y > rest and vy > 0:
            y, vy = rest, -restitution * vy
            if abs(vy) < 2 * GRAVITY * dt:
                vy = 0.0
    return np.array(heights)


@pytest.mark.parametrize("restitution", [0.0, 0.35, 0.85])
@pytest.mark.parametrize("start", [(6.0, 0.2), (17.0, -2.0), (23.0, 0.0)])
def test_bounces_match_small_steps(restitution, start):
    y, vy = start
    column = [np.array([[value]]) for value in (y, vy, restitution, 24.5)]
    height, landing = bounce(*column)
    assert abs(height[0] - integrate(y, vy, restitution, 24.5)).max() < 0.01
    fall = 24.5 - y
    assert landing[0, 0] == pytest.approx((np.sqrt(vy**2 + 2 * GRAVITY * fall) - vy) / GRAVITY)


@pytest.mark.parametrize("length", [9.0, 20.0])
def test_pendulum_is_the_large_angle_one(length):
    angle = -0.6
    xy = path("pendulum", {"radius": [2.5], "length": [length], "angle": [angle], "phase": [0.0]})[
        0
    ]
    exact = solve_ivp(
        lambda t, s: [s[1], -GRAVITY / length * np.sin(s[0])],
        (0, FRAMES),
        [angle, 0.0],
        t_eval=TIMES,
        rtol=1e-10,
        atol=1e-12,
    ).y[0]
    theta = np.arctan2(xy[:, 0, 0] - PIVOT[0], xy[:, 0, 1] - PIVOT[1])
    assert np.allclose(theta, exact, atol=1e-7)
    again = path(
        "pendulum",
        {"radius": [2.5], "length": [length], "angle": [angle], "phase": [period(length, angle)]},
    )[0]
    assert np.allclose(xy, again, atol=1e-8)


@pytest.mark.parametrize("restitution", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("velocities", [(1.2, 0.0), (0.8, -0.8), (-1.0, 0.0)])
def test_collisions_conserve_momentum(restitution, velocities):
    v, other_v = velocities
    x, other_x = (6.0, 16.0) if v > 0 else (26.0, 16.0)
    xy = path(
        "collide",
        {
            "radius": [4.0],
            "restitution": [restitution],
            "x": [x],
            "vx": [v],
            "other_x": [other_x],
            "other_vx": [other_v],
        },
    )[0, :, :, 0]
    masses = np.array([4.0**2, OTHER_RADIUS**2])
    first, last = xy[1] - xy[0], xy[-1] - xy[-2]
    assert masses @ last == pytest.approx(masses @ first)
    assert last[1] - last[0] == pytest.approx(-restitution * (first[1] - first[0]))
    energy = [masses @ v**2 for v in (first, last)]
    assert energy[1] == pytest.approx(energy[0]) if restitution == 1 else energy[1] < energy[0]
    assert (abs(xy[:, 1] - xy[:, 0]) >= 4.0 + OTHER_RADIUS - 1e-9).all()  # never inside each other


def test_friction_stops_where_energy_is_spent():
    xy = path("slide", {"radius": [2.5], "friction": [0.1], "x": [4.0], "vx": [1.2]})[0, :, 0, 0]
    assert xy[-1] == pytest.approx(4.0 + 1.2**2 / (2 * 0.1))
    assert np.allclose(np.diff(xy, 2)[:9], -0.1)


def test_nothing_leaves_its_bounds():
    rng = np.random.default_rng(0)
    for scene in set(SCENES) - {"pour"}:
        for _ in range(30):
            record = draw(rng, scene)
            shown = film(record)
            bottom = shown.xy[..., 1] + shown.radius * (0.87 if scene == "slide" else 1)
            assert bottom.max() < FLOOR + 0.05 or scene == "pendulum"
            if scene == "wall":
                x, r = shown.xy[:, 0, 0], shown.radius[:, 0]
                assert (x + r <= SIZE - WALL + 1e-6).all() or (x - r >= WALL - 1e-6).all()


def test_left_is_the_mirror_image_of_right():
    rng = np.random.default_rng(1)
    for scene in ("glide", "throw", "collide", "meet", "wall", "pendulum", "water"):
        record = draw(rng, scene)
        sides = [record.__class__(**{**vars(record), "direction": d}) for d in ("left", "right")]
        left, right = (path(scene, parameters(side))[0] for side in sides)
        assert np.allclose(left[..., 0], SIZE - right[..., 0])
        assert np.allclose(left[..., 1], right[..., 1])


def test_poured_volume_is_conserved():
    assert np.allclose(np.diff(pour_volume(0.8, 3.0)), 0.8 * 3.0)
