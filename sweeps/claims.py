"""Claims, the paper's and ours, against our results: one verdict each, and how many are open.

A claim is a conjunction of contrasts. It is tested as one hypothesis: for it speaks the largest of
its contrasts' p values (an intersection-union test), against it the smallest, times their number.
Holm runs over the claims of one table, at ALPHA. What neither side decides is "not resolved at this
power"; that is a result, and none is tuned away.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from . import mechanism_claims, paper_claims, stats
from .ablations import ABLATIONS
from .paper_claims import Claim, Contrast
from .schema import METRICS
from .stats import Estimate
from .tables import Line, Scores, Table, paired

ALPHA = 0.05
REPRODUCED, CONTRADICTED, UNRESOLVED, NOT_RUN = (
    "reproduced",
    "contradicted",
    "not resolved at this power",
    "not run",
)


@dataclass(frozen=True)
class Finding:
    """A claim with its verdict. `estimates` in printed units, one per contrast."""

    claim: Claim
    verdict: str
    estimates: tuple[Estimate, ...] = ()
    p_for: float = 1.0
    p_against: float = 1.0
    p_holm: float = 1.0  # of the smaller of the two, over the claims of the table
    why: str = ""  # nothing was tested


def judge(claims: tuple[Claim, ...], tables: dict[str, Table]) -> list[Finding]:
    """A verdict for every claim, from the tables that there are (by sweep)."""
    found = [_tested(claim, tables.get(claim.sweep)) for claim in claims]
    for sweep in dict.fromkeys(claim.sweep for claim in claims):
        family = [i for i, x in enumerate(found) if x.claim.sweep == sweep and x.estimates]
        raw = [min(found[i].p_for, found[i].p_against) for i in family]
        for i, p in zip(family, stats.holm(raw), strict=True):
            side = REPRODUCED if found[i].p_for < found[i].p_against else CONTRADICTED
            found[i] = replace(found[i], p_holm=p, verdict=side if p < ALPHA else UNRESOLVED)
    return found


def _tested(claim: Claim, table: Table | None) -> Finding:
    """The claim's two p values, or why there are none."""
    if not claim.contrasts:
        return Finding(claim, NOT_RUN, why="no contrast tests it")
    if claim.sweep not in ABLATIONS or table is None:
        return Finding(claim, NOT_RUN, why=f"sweep {claim.sweep} has no results here")
    lines = {line.row.label: line for line in table.lines}
    needed = {row for contrast in claim.contrasts for _, row, _ in contrast.terms}
    if not needed <= set(lines):
        return Finding(claim, NOT_RUN, why="a row of it is left out here")
    missing = sum(lines[row].missing for row in needed)
    if away := sorted({lines[row].row.profile for row in needed if not lines[row].cells}):
        return Finding(claim, NOT_RUN, why=f"needs profile {', '.join(away)}")
    if missing or any(not lines[row].values for row in needed):
        reason = f"{missing} of its cells have no result" if missing else "a row of it diverged"
        return Finding(claim, NOT_RUN, why=reason)
    asked = {(row, metric) for contrast in claim.contrasts for _, row, metric in contrast.terms}
    if unknown := sorted({metric for row, metric in asked if metric not in lines[row].values}):
        return Finding(claim, NOT_RUN, why=f"this judge gives no {', '.join(unknown)}")
    estimates = tuple(_estimate(contrast, lines, table) for contrast in claim.contrasts)
    pairs = [_p_values(d, c.margin) for d, c in zip(estimates, claim.contrasts, strict=True)]
    p_for = max(p for p, _ in pairs)
    p_against = min(1.0, len(pairs) * min(p for _, p in pairs))
    return Finding(claim, UNRESOLVED, estimates, p_for, p_against)


def _estimate(contrast: Contrast, lines: dict[str, Line], table: Table) -> Estimate:
    """The contrast with its interval, in printed units."""
    terms = []
    for weight, row, metric in contrast.terms:
        scores = lines[row].values[metric].scores
        terms.append(replace(scores, matrix=weight * METRICS[metric].scale * scores.matrix))
    total = terms[0]
    for term in terms[1:]:
        total = _plus(total, term)
    (_, _, metric), *others = contrast.terms
    pool, trained = table.pools.get(metric), all(lines[row].trained for _, row, _ in contrast.terms)
    if pool is None or not trained or len(others) != 1 or others[0][2] != metric:
        return stats.estimate(total.matrix)  # its own seeds alone
    scale, seeds = METRICS[metric].scale ** 2, pool.of_difference(len(total.matrix))
    return stats.estimate(total.matrix, [(scale * variance, df) for variance, df in seeds])


def _plus(a: Scores, b: Scores) -> Scores:
    matrix = paired(a, replace(b, matrix=-b.matrix))
    if matrix is None:
        raise ValueError(f"rows of seeds {a.seeds} and {b.seeds} share none")
    return Scores(matrix, tuple(seed for seed in a.seeds if seed in b.seeds), a.trained)


def _p_values(d: Estimate, margin: float | None) -> tuple[float, float]:
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


def counts(findings: list[Finding]) -> str:
    """How many there are of each verdict, in words."""
    found = [x.verdict for x in findings]
    return "; ".join(
        f"{found.count(v)} {v}" for v in (REPRODUCED, CONTRADICTED, UNRESOLVED, NOT_RUN)
    )


@dataclass(frozen=True)
class Verdicts:
    """Of the paper's claims at the profile's guidance, of Table 1's without any, and of ours."""

    paper: list[Finding]
    unguided: dict[str, Finding]  # by the claim's name
    mechanism: list[Finding]


def verdicts(tables: dict[str, Table]) -> Verdicts:
    """A verdict for every claim."""
    unguided = judge(mechanism_claims.UNGUIDED, tables)
    return Verdicts(
        judge(paper_claims.CLAIMS, tables),
        {finding.claim.name: finding for finding in unguided},
        judge(mechanism_claims.MECHANISM, tables),
    )
