"""Sweeps of an ablation. A file of one's own declares tables with these two (docs/extend.md)."""

from .schema import Ablation, Row

__all__ = ["Ablation", "Row"]
