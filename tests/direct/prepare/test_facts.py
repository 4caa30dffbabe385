"""What MaNS changes, by itself: against draws counted one by one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from direct.config import Run
from direct.data import source
from direct.prepare import shared
from direct.prepare.encode import pooled
from direct.prepare.facts import facts


def by_hand(run, excluded):
    """Shares and distances over all ordered pairs that a uniform draw may give."""
    samples = source.training(run)
    z = pooled(run, [item.prompt for item in samples])
    pairs = list(itertools.permutations(range(len(samples)), 2))
    changed = np.mean([excluded(a, b) for a, b in itertools.product(range(len(samples)), repeat=2)])
    own = []
    for a in range(len(samples)):
        others = [b for b in range(len(samples)) if b != a and not excluded(a, b)]
        own.append(np.mean([np.linalg.norm(z[a] - z[b]) for b in others]))
    uniform = np.mean([np.linalg.norm(z[a] - z[b]) for a, b in pairs])
    return changed, np.mean(own), uniform


@pytest.mark.parametrize("laws_too", [True, False])
def test_shares_and_distances_are_those_of_all_pairs(small, tmp_path, laws_too):
    run = Run(small(macro__exclude_same_law=laws_too), tmp_path)
    samples = source.training(run)
    labels = shared.partition(run, samples)["labels"]

    def excluded(a, b):
        return labels[a] == labels[b] or (laws_too and samples[a].law == samples[b].law)

    changed, distance, uniform = by_hand(run, excluded)
    found = facts(run)
    assert found["changed"] == pytest.approx(changed, abs=1e-8)
    shares = np.bincount(labels) / len(labels)
    assert found["sum_p_squared"] == pytest.approx(np.square(shares).sum(), abs=1e-8)
    assert found["distance"] == pytest.approx(distance, rel=1e-6)
    assert found["uniform_distance"] == pytest.approx(uniform, rel=1e-6)
    (run.cache / "text").rename(run.cache / "gone")
    assert facts(run) == found, "read again, not made again"


@pytest.mark.parametrize(
    "values", [{"train__steps": 0}, {"loss__lambda_rand": 0.0}, {"macro__sampling": "uniform"}]
)
def test_a_run_without_such_negatives_has_none(small, tmp_path, values):
    assert facts(Run(small(**values), tmp_path)) is None and not list(tmp_path.iterdir())
