"""Every table that there is, by its sweep's name."""

from __future__ import annotations

from .mechanism_ablations import MECHANISM
from .negatives_ablations import NEGATIVES
from .paper_ablations import PAPER

ABLATIONS = {ablation.name: ablation for ablation in (*PAPER, *MECHANISM, *NEGATIVES)}
