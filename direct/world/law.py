"""Which laws a film may follow: every one that its stage admits, or the one of its caption.

A law's constants (gravity, restitutions, frictions, string lengths) are the world's; what a film
may choose is where things start and how fast.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from itertools import product

from .motion import FRICTION, RESTITUTION, SPEED, SPEED_JITTER, STRING
from .record import SCENES, Record
from .track import Reading

PACE = 1.5 * SPEED_JITTER  # how far from its nominal speed a captioned motion may be, relative


@dataclass(frozen=True)
class Candidate:
    """One law with its constants: a scene and the values of the fields that choose them."""

    scene: str
    material: str = ""
    contact: str = ""
    speed: str = ""
    direction: str = ""
    bounds: dict[str, tuple[float, float]] = field(default_factory=dict, hash=False)

    def constants(self) -> dict[str, float]:
        values: dict[str, float] = {}
        if self.contact:
            bounces = self.contact == "bounces"
            values["restitution"] = RESTITUTION[self.material] if bounces else 0.0
        if self.scene == "slide":
            values["friction"] = FRICTION[self.material]
        if self.scene == "pendulum":
            values["length"] = STRING[self.speed]
        if self.scene == "drop":
            values["vx"] = 0.0
        if self.scene == "collide":
            values["other_vx"] = 0.0
        return values


# With free starts a fall is a throw, and an impact on a ball at rest one on a ball that moves.
SPECIAL_CASES = ("drop", "collide")


def admissible(reading: Reading) -> list[Candidate]:
    """Every law that the stage and the number of objects admit; the caption is not known."""
    setting = reading.stage.setting
    objects = min(len(reading.tracks), 2) if setting == "ice" else 1
    scenes = [
        name
        for name, scene in SCENES.items()
        if scene.setting == setting and scene.objects == objects and name not in SPECIAL_CASES
    ]
    return [candidate for scene in scenes for candidate in _variants(scene)]


@cache
def _variants(scene: str) -> tuple[Candidate, ...]:
    kind = SCENES[scene]
    speeds = tuple(STRING) if scene == "pendulum" else ("",)
    if not kind.contacts:
        found = [Candidate(scene, m, "", v) for m, v in product(kind.materials or ("",), speeds)]
        return tuple(found if scene in ("slide", "pendulum") else found[:1])
    return (
        *(Candidate(scene, m, "bounces") for m in kind.materials),
        Candidate(scene, "", "sticks"),
    )


def captioned(record: Record) -> Candidate:
    """The one law of a caption, with its speed and direction as bounds."""
    speed = SPEED.get(record.scene, {}).get(record.speed, 0.0)
    sign = -1 if record.direction == "left" else 1
    bounds: dict[str, tuple[float, float]] = {}
    if record.scene == "drop":
        bounds["vy"] = _around(speed)
    elif record.scene == "water":
        bounds["vy"] = _around(-speed if record.material == "wood" else speed)
        bounds["vx"] = (0.05, 1.0) if sign > 0 else (-1.0, -0.05)
    elif record.scene == "pendulum":
        bounds["angle"] = (-1.2, -0.2) if sign > 0 else (0.2, 1.2)
    elif record.scene != "pour":
        bounds["vx"] = _around(sign * speed)
    return Candidate(
        record.scene, record.material, record.contact, record.speed, record.direction, bounds
    )


def _around(speed: float) -> tuple[float, float]:
    low, high = sorted((speed * (1 - PACE), speed * (1 + PACE)))
    return low - 0.05, high + 0.05
