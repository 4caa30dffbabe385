"""Which laws a film may follow: those of its stage, or the one of its caption."""

from types import SimpleNamespace

import numpy as np
import pytest

from direct.world.law import SPECIAL_CASES, Candidate, admissible, captioned
from direct.world.motion import FRICTION, RESTITUTION, STRING, parameters
from direct.world.record import SCENES, draw


def reading(setting, objects=1):
    return SimpleNamespace(stage=SimpleNamespace(setting=setting), tracks=[None] * objects)


def laws(setting, objects=1):
    return {
        (c.scene, c.material, c.contact, c.speed) for c in admissible(reading(setting, objects))
    }


def test_a_stage_admits_every_restitution_and_sticking_once():
    each = {("throw", m, "bounces", "") for m in RESTITUTION}
    assert laws("ground") == each | {("throw", "", "sticks", "")}
    assert laws("planks") == {("slide", m, "", "") for m in FRICTION}
    assert laws("pivot") == {("pendulum", "", "", speed) for speed in STRING}


def test_ice_asks_how_many_are_seen():
    assert laws("ice", 1) == {("glide", "", "", "")}
    assert {scene for scene, *_ in laws("ice", 2)} == {"meet"} and laws("ice", 3) == laws("ice", 2)


def test_special_cases_are_in_the_general_law():
    for scene in SCENES.values():
        for objects in (1, 2):
            assert not {c.scene for c in admissible(reading(scene.setting, objects))} & set(
                SPECIAL_CASES
            )


def test_constants_are_those_of_the_simulation():
    rng = np.random.default_rng(0)
    for _ in range(200):
        record = draw(rng)
        if record.scene == "pour":
            continue
        simulated = parameters(record)
        for name, value in captioned(record).constants().items():
            assert value == pytest.approx(float(simulated[name][0])), (record, name)
    assert Candidate("throw", "", "sticks").constants() == {"restitution": 0.0}


def test_what_is_simulated_lies_within_the_captions_bounds():
    rng = np.random.default_rng(1)
    bounded = set()
    for _ in range(300):
        record = draw(rng)
        if record.scene == "pour":
            continue
        for name, (low, high) in captioned(record).bounds.items():
            assert low < float(parameters(record)[name][0]) < high
            bounded.add((record.scene, name))
    assert {scene for scene, _ in bounded} == set(SCENES) - {"pour"}
    assert captioned(draw(rng, "pour")).bounds == {}


def test_the_other_speed_and_direction_are_out_of_bounds():
    rng = np.random.default_rng(2)
    for scene in ("glide", "wall", "collide", "throw"):
        record = draw(rng, scene)
        low, high = captioned(record).bounds["vx"]
        speed = float(parameters(record)["vx"][0])
        assert not low < -speed < high
        other = {"slowly": "quickly", "quickly": "slowly"}[record.speed]
        changed = record.__class__(**{**vars(record), "speed": other})
        assert not low < float(parameters(changed)["vx"][0]) < high
