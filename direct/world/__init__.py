"""The tiny profile's physics world: closed-form scenes, captions, renderer, exact judge."""

from .corpus import Clip, corpus
from .record import AXES, Record, caption, perturb
from .render import render

__all__ = ["AXES", "Clip", "Record", "caption", "corpus", "perturb", "render"]
