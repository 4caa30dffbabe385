"""Seeds in rounds, simulated: the error holds, and the same looks at ALPHA each would not."""

import re
from pathlib import Path

import numpy as np

from sweeps import coverage, rounds_coverage, stats
from sweeps.rounds import planned
from sweeps.stats import ALPHA, Components

LOOKS = planned(12)


def tables(repeats=1000):
    """Mostly seeds vary, so that few prompts do."""
    parts = Components(1.0, 0.0, 1.0)
    return coverage.simulated(12, 4, parts, repeats, 5, np.random.default_rng(0))


def test_family_wise_error_is_below_alpha_and_would_not_be_without_spending(monkeypatch):
    found = rounds_coverage.stopped(tables(), (0.0,) * 4, LOOKS)
    assert 0.005 < found.size <= ALPHA
    monkeypatch.setattr(rounds_coverage, "levels", lambda looks: [ALPHA] * len(looks))
    monkeypatch.setattr(rounds_coverage, "MARGIN", 0.0)  # nothing stops a table but a difference
    assert rounds_coverage.stopped(tables(), (0.0,) * 4, LOOKS).size > 1.2 * ALPHA


def test_holm_in_steps_is_holm_of_p_values():
    """Against `stats.holm` of p values, table by table, at one look."""
    x = tables(repeats=40).astype(float)
    x[:, 1] += 1.5
    apart, _ = rounds_coverage._decided(x, ALPHA)
    for own, found in zip(x, apart, strict=True):
        pool = stats.pool(own.mean(-1))
        estimates = [stats.estimate(row - own[0], pool.of_difference(12)) for row in own[1:]]
        adjusted = stats.holm([d.p for d in estimates])
        assert found.tolist() == [p < ALPHA for p in adjusted]


def test_large_effects_stop_early_and_are_found():
    found = rounds_coverage.stopped(tables(repeats=200), (6.0,) * 4, LOOKS)
    assert found.power > 0.99 and found.seeds < 6 and found.size == 0
    margin = rounds_coverage.stopped(tables(repeats=200), (1.0,) * 4, LOOKS)
    assert margin.size <= ALPHA, "none is called equivalent at the margin"


def test_the_committed_section_holds_the_error():
    text = (Path(stats.__file__).parents[1] / "docs/coverage.md").read_text()
    section = text.partition("## Seeds added in rounds")[2]
    lines = [line.split(" | ") for line in section.splitlines() if re.match(r"\| [\d.]+ \|", line)]
    assert len(lines) == len(rounds_coverage.PARTS) * len(rounds_coverage.EFFECTS)
    assert max(float(line[2].rstrip("%")) for line in lines) <= 100 * ALPHA
