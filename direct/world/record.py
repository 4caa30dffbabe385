"""What a clip shows: one typed record per clip, its caption, and the five axes of its physics.

Every MiNS axis is one field of the record, so a perturbation is an exact one-field edit that can
be captioned and simulated (design, section 5; Sec. 4.2 of the paper names the axes).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

COLORS = {
    "red": (0.90, 0.12, 0.12),
    "green": (0.08, 0.70, 0.18),
    "blue": (0.12, 0.25, 0.95),
    "yellow": (0.95, 0.85, 0.08),
    "purple": (0.72, 0.15, 0.85),
}
BACKGROUNDS = {"white": (0.93,) * 3, "grey": (0.58,) * 3, "black": (0.12,) * 3}

RADIUS = {"small": 2.5, "large": 4.0}  # px
AXES = {  # the paper's axes (Sec. 4.2) -> the field that each one edits
    "kinematics": "speed",
    "forces": "direction",
    "material": "material",
    "interaction": "contact",
    "magnitude": "size",
}


@dataclass(frozen=True)
class Scene:
    """One kind of event: law (coarse label), setting, caption, values of the optional fields."""

    law: str
    setting: str
    template: str
    materials: tuple[str, ...] = ()
    contacts: tuple[str, ...] = ()
    directions: tuple[str, ...] = ("left", "right")
    objects: int = 1


SOLIDS, CONTACTS = ("rubber", "wood", "steel"), ("bounces", "sticks")
SCENES = {
    "glide": Scene(
        "inertia", "ice", "a {size} {color} ball glides {speed} to the {direction} on ice"
    ),
    "slide": Scene(
        "friction",
        "planks",
        "a {size} {color} {material} block slides {speed} to the {direction} on a rough floor",
        materials=SOLIDS,
    ),
    "throw": Scene(
        "gravity",
        "ground",
        "a {size} {color} {material} ball is thrown {speed} to the {direction} and {contact} "
        "on the ground",
        materials=SOLIDS,
        contacts=CONTACTS,
    ),
    "drop": Scene(
        "gravity",
        "ground",
        "a {size} {color} {material} ball falls {speed} and {contact} on the ground",
        materials=SOLIDS,
        contacts=CONTACTS,
        directions=(),
    ),
    "collide": Scene(
        "collision",
        "ice",
        "a {size} {color} {material} ball moves {speed} to the {direction} on ice and {contact} "
        "on hitting a {other} ball at rest",
        materials=SOLIDS,
        contacts=CONTACTS,
        objects=2,
    ),
    "meet": Scene(
        "collision",
        "ice",
        "a {size} {color} {material} ball moves {speed} to the {direction} on ice and {contact} "
        "on meeting a {other} ball",
        materials=SOLIDS,
        contacts=CONTACTS,
        objects=2,
    ),
    "wall": Scene(
        "impenetrability",
        "wall",
        "a {size} {color} {material} ball rolls {speed} to the {direction} and {contact} on a wall",
        materials=SOLIDS,
        contacts=CONTACTS,
    ),
    "pendulum": Scene(
        "oscillation",
        "pivot",
        "a {size} {color} ball swings {speed} on a string to the {direction}",
    ),
    "water": Scene(
        "buoyancy",
        "water",
        "a {size} {color} {material} ball moves {speed} in water and drifts to the {direction}",
        materials=("wood", "steel"),
    ),
    "pour": Scene(
        "conservation",
        "spout",
        "a {size} stream of {color} {material} pours {speed} onto the ground",
        materials=("sand", "water"),
        directions=(),
    ),
}


@dataclass(frozen=True)
class Record:
    """Everything that decides a clip. `start` in [0, 1)^3 jitters position, height and speed."""

    scene: str
    color: str
    background: str
    size: str
    speed: str
    direction: str = ""
    material: str = ""
    contact: str = ""
    other: str = ""  # colour of the second object
    start: tuple[float, float, float] = (0.5, 0.5, 0.5)

    @property
    def law(self) -> str:
        return SCENES[self.scene].law


def options(scene: str, field: str) -> tuple[str, ...]:
    """The values that a field may take in a scene."""
    kind = SCENES[scene]
    return {
        "size": tuple(RADIUS),
        "speed": ("slowly", "quickly"),
        "direction": kind.directions,
        "material": kind.materials,
        "contact": kind.contacts,
        "background": tuple(BACKGROUNDS),
        "color": tuple(COLORS),
    }[field]


def draw(rng: np.random.Generator, scene: str | None = None) -> Record:
    """A record drawn uniformly: scene first, then every field that the scene has."""
    scene = scene or str(rng.choice(list(SCENES)))
    fields = ("size", "speed", "direction", "material", "contact", "background")
    chosen = {
        field: str(rng.choice(options(scene, field))) for field in fields if options(scene, field)
    }
    color, other = (str(name) for name in rng.choice(list(COLORS), size=2, replace=False))
    two = SCENES[scene].objects == 2
    x, y, v = (float(part) for part in rng.random(3))
    return Record(scene, color, other=other if two else "", start=(x, y, v), **chosen)


def caption(record: Record) -> str:
    """The prompt of a record; two records that differ in `start` alone share it."""
    text = SCENES[record.scene].template.format(**vars(record))
    return f"{text}, {record.background} background"


def perturb(record: Record, axis: str, rng: np.random.Generator) -> Record | None:
    """The record with one physics axis changed (Sec. 4.2), or None where that changes nothing.

    Args:
        record: the anchor.
        axis: one of `AXES`.
        rng: picks among the other values.
    """
    field = AXES[axis]
    if axis == "material" and record.contact == "sticks":
        return None  # restitution is zero whatever the material
    others = [value for value in options(record.scene, field) if value != getattr(record, field)]
    if not others:
        return None
    return replace(record, **{field: str(rng.choice(others))})  # type: ignore[arg-type]
