"""The four corpora, each a pure function of its seed; no video is stored.

A caption's hash decides to which side it belongs, so evaluation and validation prompts are disjoint
from each other and from everything trained on, whatever the corpora's sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..common.errors import UserError, nearest
from ..common.seed import stable_seed
from .impossible import violate
from .motion import Array
from .record import AXES, Record, caption, draw, perturb
from .render import Film, render

BUCKETS = {  # of ten, by the hash of the caption
    "evaluation": (0,),
    "validation": (1,),
    "post_training": tuple(range(2, 10)),
    "pretraining": tuple(range(2, 10)),
}
# Shares of the pretraining corpus that break the physics of their caption: the stand-in for
# uncurated web video, and the reason why the base model is flawed.
IMPOSSIBLE_SHARE = 0.20  # a motion that no law allows
MISCAPTIONED_SHARE = 0.20  # a valid motion, but another one than the caption says
PATIENCE = 20_000  # draws in a row that find no new prompt


@dataclass(frozen=True)
class Clip:
    """One sample of a corpus. `kind`: right, impossible or miscaptioned."""

    id: str
    record: Record  # what the caption says
    kind: str = "right"
    edited: Film | None = None  # the impossible film
    shown: Record | None = None  # what a miscaptioned clip shows instead

    @property
    def caption(self) -> str:
        return caption(self.record)

    @property
    def law(self) -> str:
        return self.record.law

    def video(self) -> Array:
        """uint8 [T, H, W, 3]."""
        return render(self.shown or self.record, self.edited)


def corpus(split: str, count: int, seed: int = 0) -> list[Clip]:
    """The first `count` clips of a corpus.

    Validation and evaluation prompts are all different; training captions may recur with another
    start. Raises `UserError` for an unknown split, or for more prompts than there are.
    """
    if split not in BUCKETS:
        raise UserError(f"split {split!r} is not a corpus; {nearest(split, BUCKETS)}")
    rng = np.random.default_rng(stable_seed("world", split, seed))
    distinct = split in ("evaluation", "validation")
    clips: list[Clip] = []
    seen: set[str] = set()
    idle = 0  # draws since the last new one
    while len(clips) < count:
        if (idle := idle + 1) > PATIENCE:
            raise UserError(
                f"{count} {split} prompts asked for, and the world has about {len(clips)} "
                "different ones; ask for fewer (--prompts or evaluate.prompts)"
            )
        record = draw(rng)
        text = caption(record)
        if stable_seed("bucket", text) % 10 not in BUCKETS[split] or (distinct and text in seen):
            continue
        seen.add(text)
        idle = 0
        name = f"{split}-{seed}-{len(clips):05d}"
        flawed = split == "pretraining"
        clips.append(_flawed(name, record, rng) if flawed else Clip(name, record))
    return clips


def _flawed(name: str, record: Record, rng: np.random.Generator) -> Clip:
    """A pretraining clip: right, impossible or miscaptioned, in the stated shares."""
    fate = rng.random()
    if fate < IMPOSSIBLE_SHARE:
        return Clip(name, record, "impossible", edited=violate(record, rng)[1])
    if fate < IMPOSSIBLE_SHARE + MISCAPTIONED_SHARE:
        shown = None
        while shown is None:
            shown = perturb(record, str(rng.choice(list(AXES))), rng)
        return Clip(name, record, "miscaptioned", shown=shown)
    return Clip(name, record)
