"""Impossible motion: edits of a film that no law of this world allows, each with a stated size.

An edit is impossible by what it shows, not by what was meant. The laws' constants are the world's
(a contact returns 0.85, 0.6 or 0.35 of the speed), but a film may start anywhere, at any speed. So
an edit that gains energy where little motion is left, or turns wood into rubber, shows what another
film shows too, and does not apply (`gain_energy`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np

from .fit import best_fit
from .law import admissible
from .motion import FRAMES, GRAVITY, SIZE, TIMES, Array, parameters, path
from .record import SCENES, Record
from .render import Film, film
from .track import Reading, Stage, Track

CONTACT_SCENES = ("throw", "drop", "collide", "meet", "wall")
FALLING = ("throw", "drop")
GLIDING = ("glide", "slide")
SEEN = 0.5  # px; an edit that moves everything by less shows nothing
TOLD_APART = 1 / 8  # px, from every law's film that may start anywhere


def teleport(record: Record, pixels: float, rng: np.random.Generator) -> Film | None:
    """Jumps by `pixels` in mid-film, along the way that stays in the picture."""
    if record.scene == "pour":
        return None
    shown, when = film(record), _moment(rng)
    inward = 1.0 if shown.xy[when:, 0, 0].mean() < SIZE / 2 else -1.0
    xy = shown.xy.copy()
    xy[when:, 0, 0] += inward * pixels
    return replace(shown, xy=xy)


def vanish(record: Record, frames: float, rng: np.random.Generator) -> Film | None:
    """Is gone for `frames` frames in mid-film (a pour: what lies on the ground is)."""
    shown, when = film(record), _moment(rng)
    until = when + int(frames)
    if record.scene == "pour":
        volume = shown.volume.copy()
        volume[when:until] = 0
        return replace(shown, volume=volume)
    opacity = shown.opacity.copy()
    opacity[when:until, 0] = 0
    return replace(shown, opacity=opacity)


def pass_through(record: Record, share: float, rng: np.random.Generator) -> Film | None:
    """Goes on through what it meets, with `share` of its speed."""
    if record.scene not in CONTACT_SCENES:
        return None
    p, shown = parameters(record), film(record)
    free = np.empty_like(shown.xy)
    for k, (x, v) in enumerate((("x", "vx"), ("other_x", "other_vx"))[: shown.xy.shape[1]]):
        free[:, k, 0] = p[x] + p[v] * TIMES[0]
        free[:, k, 1] = shown.xy[:, k, 1]
    if record.scene in FALLING:
        free[:, 0, 1] = p["y"] + p["vy"] * TIMES[0] + 0.5 * GRAVITY * TIMES[0] ** 2
    when = _first_departure(shown.xy, free)
    if when > FRAMES - 4:
        return None
    kept = shown.xy.copy()
    kept[when:] = kept[when - 1] + share * (free[when:] - free[when - 1])
    return replace(shown, xy=kept)


def gain_energy(record: Record, share: float, rng: np.random.Generator) -> Film | None:
    """Has `share` more kinetic energy: from mid-film on ice, after the contact elsewhere.

    Applies where something ends up at least half a pixel from where every law takes it from the
    same start, and an eighth from where the nearest takes it from any start. In `collide`, 20 %
    hardly ever do: other speeds before a late impact show the same to a tenth of a pixel.
    """
    edited = _quicken(record, share)
    if edited is None:
        return None
    others = [replace(record, material=m, contact=c) for m, c in _responses(record.scene)]
    nearest = min(abs(edited.xy - film(other).xy).max() for other in [record, *others])
    if nearest <= SEEN or _from_any_start(record, edited) <= TOLD_APART:
        return None
    return edited


def _from_any_start(record: Record, edited: Film) -> float:
    """The largest departure, px, of a film from the nearest that a law allows, starts free."""
    from_edge = np.minimum(edited.xy, SIZE - edited.xy).min(-1)  # [T, objects]
    clear = from_edge > edited.radius
    tracks = tuple(
        Track("", edited.xy[:, k], np.pi * radius**2, radius / 2, clear[:, k], 0.0)
        for k, radius in enumerate(edited.radius.T)
    )
    stage = Stage(SCENES[record.scene].setting, record.background, record.direction, np.empty(0))
    reading = Reading(stage, tracks, 0.0, 0.0, 0.0)
    fit = best_fit(reading, admissible(reading))
    if fit is None:
        return 0.0
    missed = (edited.xy[:, fit.order] - fit.path)[clear[:, fit.order]]
    return float(np.hypot(*missed.T).max())


def _quicken(record: Record, share: float) -> Film | None:
    """`gain_energy`, also where the law of another material shows nearly the same."""
    faster = np.sqrt(1 + share)
    shown = film(record)
    if record.scene in GLIDING:
        when = FRAMES // 2
        xy = shown.xy.copy()
        xy[when:] = xy[when] + faster * (xy[when:] - xy[when])
        return replace(shown, xy=xy)
    if record.scene not in CONTACT_SCENES or record.contact != "bounces":
        return None
    p = parameters(record)
    p["restitution"] = p["restitution"] * faster
    xy = path(record.scene, p)[0]
    return replace(shown, xy=xy) if abs(xy - shown.xy).max() > SEEN else None


def _responses(scene: str) -> list[tuple[str, str]]:
    """Every (material, contact) of a scene: the laws that a film with the same start may follow."""
    kind = SCENES[scene]
    return list(product(kind.materials or ("",), kind.contacts or ("",)))


def reverse_gravity(record: Record, share: float, rng: np.random.Generator) -> Film | None:
    """Falls upwards, with `share` of the usual acceleration."""
    if record.scene not in FALLING:
        return None
    p, shown = parameters(record), film(record)
    xy = shown.xy.copy()
    y = p["y"] + np.minimum(p["vy"], 0) * TIMES[0] - 0.5 * share * GRAVITY * TIMES[0] ** 2
    xy[:, 0, 0] = p["x"] + p["vx"] * TIMES[0]
    xy[:, 0, 1] = np.maximum(y, shown.radius[:, 0])  # held by the picture's upper edge
    return replace(shown, xy=xy)


def change_size(record: Record, share: float, rng: np.random.Generator) -> Film | None:
    """Its radius (a pour: its volume) grows or shrinks by `share` in mid-film."""
    shown, when = film(record), _moment(rng)
    factor = 1 + share if rng.random() < 0.5 else 1 / (1 + share)
    if record.scene == "pour":
        volume = shown.volume.copy()
        volume[when:] *= factor
        return replace(shown, volume=volume)
    radius = shown.radius.copy()
    radius[when:, 0] *= factor
    return replace(shown, radius=radius)


def freeze(record: Record, frames: float, rng: np.random.Generator) -> Film | None:
    """Stops dead in mid-motion for `frames` frames, then continues unchanged."""
    shown, when = film(record), _moment(rng)
    held = np.minimum(np.arange(FRAMES), when)
    held[when:] = np.maximum(when, np.arange(when, FRAMES) - int(frames))
    if record.scene == "pour":
        return replace(shown, volume=shown.volume[held])
    until = min(when + int(frames), FRAMES - 1)
    missed = abs(shown.xy[until] - shown.xy[when]).max()  # a thing at rest cannot freeze
    return replace(shown, xy=shown.xy[held]) if missed > min(1.5, 0.4 * frames) else None


Edit = Callable[[Record, float, np.random.Generator], Film | None]
# edit -> (function, unit, the stated size, the sizes of the judge's curve)
EDITS: dict[str, tuple[Edit, str, float, tuple[float, ...]]] = {
    "teleport": (teleport, "px", 3.0, (0.25, 0.5, 1.0, 2.0, 3.0, 5.0)),
    "vanish": (vanish, "frames", 6, (1, 2, 4, 6, 8)),
    "pass through": (pass_through, "share of speed", 1.0, (0.25, 0.5, 0.75, 1.0)),
    "energy": (gain_energy, "share", 0.2, (0.05, 0.1, 0.2, 0.4, 0.8)),
    "reversed gravity": (reverse_gravity, "share of g", 1.0, (0.1, 0.25, 0.5, 1.0)),
    "size": (change_size, "share", 0.25, (0.05, 0.1, 0.25, 0.5)),
    "freeze": (freeze, "frames", 8, (1, 2, 4, 8)),
}


def violate(record: Record, rng: np.random.Generator) -> tuple[str, Film]:
    """A random violation that applies to the record, at its stated size or up to double.

    For the pretraining corpus, which may well hold faint ones; the shipped base model and its model
    card rest on the exact order of draws here (tests/direct/world/test_corpus.py).
    """
    edits = {name: edit for name, (edit, _, _, _) in EDITS.items()}
    edits["energy"] = lambda record, share, rng: _quicken(record, share)
    while True:
        name = str(rng.choice(list(edits)))
        size = EDITS[name][2]
        edited = edits[name](
            record, size * (1 + rng.random()) if name != "pass through" else size, rng
        )
        if edited is not None:
            return name, edited


def applies(record: Record) -> list[str]:
    """The edits that a record's scene admits."""
    rng = np.random.default_rng(0)
    return [name for name, (edit, _, size, _) in EDITS.items() if edit(record, size, rng)]


def _moment(rng: np.random.Generator) -> int:
    """A frame in the middle half of the film."""
    return int(rng.integers(FRAMES // 4, FRAMES // 2 + 1))


def _first_departure(a: Array, b: Array) -> int:
    """The first frame at which two motions part."""
    apart = abs(a - b).reshape(len(a), -1).max(axis=1) > 1e-6
    return int(np.argmax(apart)) if apart.any() else len(a)


assert set(CONTACT_SCENES) == {name for name, scene in SCENES.items() if scene.contacts}
