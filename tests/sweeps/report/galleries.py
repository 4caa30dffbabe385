"""Results and run folders that a gallery of the world's own films is made from."""

import numpy as np
from made_up import BASE, results_of

from direct.common.files import digest
from direct.world.corpus import corpus
from sweeps.ablations import ABLATIONS
from sweeps.report import gallery
from sweeps.schema import cells

RECORDS = corpus("evaluation", 12)

CELLS = cells(gallery.ABLATION, BASE, (0, 1))


def finished(change=lambda cell, scores: scores):
    """What `cell.read_result` gives for the gallery's cells."""
    found = results_of(ABLATIONS["sampling"], change=change)
    for result in found.values():
        result["captions"] = [clip.caption for clip in RECORDS]
        result["checksum"] = digest(result)
    return found


def made(monkeypatch, root):
    """Results as made up by `made_up`, and the world's own films for every model."""
    results = finished()
    decoded = []

    def decode(run, indices):
        decoded.append(run.folder.name)
        return np.stack([RECORDS[i].video() for i in indices])

    for cell in CELLS:
        (root / cell.id / "transformer").mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(gallery, "read_result", lambda run: results.get(run.name))
    monkeypatch.setattr(gallery, "decode", decode)
    return results, decoded, root, root
