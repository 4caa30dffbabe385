"""Contrasts of rows, and the one family of hypotheses that a table tests, adjusted by Holm.

A table's family is the contrasts that it declares and, for every claim about it, what the claim
adds to them, as one hypothesis. So a contrast has one p value wherever it stands, and a claim is
read off it: for the claim speaks the largest p of its parts (an intersection-union test), against
it the smallest. A claim that adds nothing costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from . import stats
from .paper_claims import Claim, Contrast
from .schema import METRICS, Ablation
from .stats import Array, Estimate, Pool

Hypothesis = tuple[Contrast, ...]  # all of them hold


@dataclass(frozen=True)
class Scores:
    """A row's scores on one metric, in the judge's units."""

    matrix: Array  # [S, P]
    seeds: tuple[int, ...]  # of the rows of `matrix`
    trained: bool  # not the base model, which a seed gives its noise alone


@dataclass(frozen=True)
class Tested:
    """A hypothesis of a family. Adjusted p values: one of the two is 1."""

    estimates: tuple[Estimate, ...]  # printed units, one per contrast; empty where none can be had
    p_for: float
    p_against: float

    @property
    def p(self) -> float:
        return min(self.p_for, self.p_against)


Rows = Mapping[str, Mapping[str, Scores]]  # by label, by metric; empty where nothing is finished


def paired(a: Scores, b: Scores) -> Array | None:
    """`a - b` as `[S, P]` over the seeds they share; `None` where they share none."""
    shared = [seed for seed in a.seeds if seed in b.seeds]
    if not shared:
        return None
    return (
        a.matrix[[a.seeds.index(seed) for seed in shared]]
        - b.matrix[[b.seeds.index(seed) for seed in shared]]
    )


def difference(a: Scores, b: Scores, pool: Pool | None) -> Estimate | None:
    """a - b, paired; between trained rows with the seeds' variance of the table."""
    d = paired(a, b)
    if d is None:
        return None
    if pool is None or not (a.trained and b.trained):
        return stats.estimate(d)
    return stats.estimate(d, pool.of_difference(len(d)))


# The family ---------------------------------------------------------------------------------------


def declared(ablation: Ablation, label: str, metric: str) -> Contrast:
    """The table's own contrast of a row with its partner."""
    return Contrast(((1, label, metric), (-1, ablation.partner(label), metric)))


def reverse(contrast: Contrast) -> Contrast:
    """The same test, with its sides exchanged."""
    (weight_a, a, metric_a), (weight_b, b, metric_b) = contrast.terms
    return Contrast(((weight_b, b, metric_b), (weight_a, a, metric_a)))


def hypotheses(ablation: Ablation, claims: Iterable[Claim]) -> list[Hypothesis]:
    """The family: declared contrasts, and what each claim about the table adds to them."""
    found: dict[Hypothesis, None] = {}
    labels = {row.label for row in ablation.rows}
    for label, metric in ablation.contrasts:
        if label in labels:
            found[(declared(ablation, label, metric),)] = None
    own = [claim for claim in claims if claim.sweep == ablation.name]
    return [*found, *dict.fromkeys(added for x in own if (added := added_by(x, ablation)))]


def known(contrast: Contrast, ablation: Ablation) -> tuple[Contrast, bool] | None:
    """The declared contrast that this is, and whether with its sides exchanged; `None` if none."""
    if contrast.margin is not None or len(contrast.terms) != 2:
        return None
    for label, metric in ablation.contrasts:
        if label not in {row.label for row in ablation.rows}:
            continue
        own = declared(ablation, label, metric)
        other = Contrast(tuple((-weight, row, m) for weight, row, m in reverse(own).terms))
        if contrast in (own, other):
            return own, contrast == other
    return None


def added_by(claim: Claim, ablation: Ablation) -> Hypothesis:
    """The claim's contrasts that the table has not declared itself."""
    return tuple(x for x in claim.contrasts if known(x, ablation) is None)


def family(
    found: Iterable[Hypothesis], rows: Rows, pools: Mapping[str, Pool | None]
) -> dict[Hypothesis, Tested]:
    """Every hypothesis that these rows can test, tested. What has no results yet has p = 1.

    `rows`: all that have cells here. A hypothesis about other rows, or about a metric that the
    judge does not give, is no part of the family.
    """
    given = {metric for row in rows.values() for metric in row}
    able = [
        hypothesis
        for hypothesis in found
        if all(
            row in rows and (metric in given or not given)
            for contrast in hypothesis
            for _, row, metric in contrast.terms
        )
    ]
    raw = [_tested(hypothesis, rows, pools) for hypothesis in able]
    adjusted = stats.holm([x.p for x in raw])
    return {
        hypothesis: replace(
            x,
            p_for=p if x.p_for <= x.p_against else 1.0,
            p_against=p if x.p_against < x.p_for else 1.0,
        )
        for hypothesis, x, p in zip(able, raw, adjusted, strict=True)
    }


def looked(
    family: Mapping[Hypothesis, Tested], looks: Iterable[tuple[float, Mapping[Hypothesis, Tested]]]
) -> dict[Hypothesis, Tested]:
    """`family` with the p values of planned looks, each at its level: of several the smallest.

    Times ALPHA / level, so that they are compared with ALPHA; 1 before the first look.
    """
    found = {hypothesis: replace(x, p_for=1.0, p_against=1.0) for hypothesis, x in family.items()}
    for level, at in looks:
        for hypothesis, x in at.items():
            before, p = found[hypothesis], min(1.0, x.p * stats.ALPHA / level)
            if p < before.p:
                sides = (p, 1.0) if x.p_for <= x.p_against else (1.0, p)
                found[hypothesis] = replace(before, p_for=sides[0], p_against=sides[1])
    return found


def undecided(family: Mapping[Hypothesis, Tested], margin: float, level: float) -> list[Hypothesis]:
    """Hypotheses of p >= ALPHA, but for contrasts on scores that lie within the margin at `level`.

    margin: in printed points, of the metrics that are shown in per cent.
    """
    return [
        hypothesis
        for hypothesis, x in family.items()
        if not x.p < stats.ALPHA and not _equivalent(hypothesis, x, margin, level)
    ]


def _equivalent(hypothesis: Hypothesis, found: Tested, margin: float, level: float) -> bool:
    points = all(METRICS[metric].scale == 100 for x in hypothesis for _, _, metric in x.terms)
    if not found.estimates or not points or any(x.margin is not None for x in hypothesis):
        return False  # one with a margin is decided by its own p
    return all(p_values(d, margin)[0] < level for d in found.estimates)


def _tested(hypothesis: Hypothesis, rows: Rows, pools: Mapping[str, Pool | None]) -> Tested:
    """Not adjusted: against a conjunction speaks its smallest p, times their number."""
    estimates = [estimate(contrast, rows, pools) for contrast in hypothesis]
    if any(d is None or not np.isfinite(d.p) for d in estimates):
        return Tested((), 1.0, 1.0)
    own = tuple(d for d in estimates if d)
    pairs = [p_values(d, contrast.margin) for d, contrast in zip(own, hypothesis, strict=True)]
    return Tested(
        own, max(p for p, _ in pairs), min(1.0, len(pairs) * min(against for _, against in pairs))
    )


def estimate(contrast: Contrast, rows: Rows, pools: Mapping[str, Pool | None]) -> Estimate | None:
    """The contrast with its interval, in printed units; `None` where a row has no scores."""
    if any(metric not in rows.get(row, {}) for _, row, metric in contrast.terms):
        return None
    terms = []
    for weight, row, metric in contrast.terms:
        scores = rows[row][metric]
        terms.append(replace(scores, matrix=weight * METRICS[metric].scale * scores.matrix))
    total = terms[0]
    for term in terms[1:]:
        matrix = paired(total, replace(term, matrix=-term.matrix))
        if matrix is None:
            return None
        shared = tuple(seed for seed in total.seeds if seed in term.seeds)
        total = Scores(matrix, shared, total.trained)
    (_, _, metric), *others = contrast.terms
    pool, trained = pools.get(metric), all(rows[row][m].trained for _, row, m in contrast.terms)
    if pool is None or not trained or len(others) != 1 or others[0][2] != metric:
        return stats.estimate(total.matrix)  # its own seeds alone
    scale, seeds = METRICS[metric].scale ** 2, pool.of_difference(len(total.matrix))
    return stats.estimate(total.matrix, [(scale * variance, df) for variance, df in seeds])


def p_values(d: Estimate, margin: float | None) -> tuple[float, float]:
    """Two-sided p values for the contrast and against it: above 0, or within the margin."""
    if margin is None:
        return _above(d, 0.0), _below(d, 0.0)
    return (
        max(_above(d, -margin), _below(d, margin)),
        min(1.0, min(_above(d, margin), _below(d, -margin))),
    )


def _above(d: Estimate, bar: float) -> float:
    """p of `d > bar`: the two-sided one, and 1 on the wrong side. Holds for either side at once."""
    if d.mean <= bar:
        return 1.0
    return stats.p_value((d.mean - bar) / d.se, d.parts) if d.se > 0 else 0.0


def _below(d: Estimate, bar: float) -> float:
    return _above(replace(d, mean=-d.mean), -bar)
