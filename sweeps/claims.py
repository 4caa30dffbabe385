"""Claims, the paper's and ours, against our results: one verdict each, and how many are open.

A claim is a conjunction of contrasts, and a table tests one family of hypotheses (`contrasts`): the
claim's verdict is read off it, at ALPHA. What neither side decides is "not resolved at this power";
that is a result, and none is tuned away.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import mechanism_claims, paper_claims
from .ablations import ABLATIONS
from .contrasts import added_by, estimate, known
from .paper_claims import Claim
from .stats import Estimate
from .table import Table

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
    alone: tuple[float | None, ...] = ()  # p of each contrast that the table declares, as there
    p_holm: float = 1.0  # the claim's, from the table's family
    why: str = ""  # nothing was tested


def judge(claims: tuple[Claim, ...], tables: dict[str, Table]) -> list[Finding]:
    """A verdict for every claim, from the tables that there are (by sweep)."""
    return [_verdict(claim, tables.get(claim.sweep)) for claim in claims]


def _verdict(claim: Claim, table: Table | None) -> Finding:
    """The claim's verdict, or why there is none."""
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
    return _read_off(claim, table)


def _read_off(claim: Claim, table: Table) -> Finding:
    """The verdict that the adjusted p values of the claim's parts have as their consequence."""
    rows = {
        line.row.label: {metric: value.scores for metric, value in line.values.items()}
        for line in table.lines
    }
    estimates = [estimate(contrast, rows, table.pools) for contrast in claim.contrasts]
    shown = tuple(d for d in estimates if d)
    if len(shown) < len(estimates):
        return Finding(claim, NOT_RUN, why="its rows share no seed")
    parts = _parts(claim, table)
    p_for, p_against = max(p for p, _ in parts), min(p for _, p in parts)
    side = REPRODUCED if p_for < p_against else CONTRADICTED
    p = min(p_for, p_against)
    alone = tuple(
        table.family[(found[0],)].p if (found := known(x, table.ablation)) else None
        for x in claim.contrasts
    )
    return Finding(claim, side if p < ALPHA else UNRESOLVED, shown, alone, p)


def _parts(claim: Claim, table: Table) -> list[tuple[float, float]]:
    """Adjusted p values for and against each part: a declared contrast, or what the claim adds."""
    parts = []
    for contrast in claim.contrasts:
        if found := known(contrast, table.ablation):
            tested = table.family[(found[0],)]
            sides = tested.p_for, tested.p_against
            parts.append((sides[1], sides[0]) if found[1] else sides)
    if added := added_by(claim, table.ablation):
        parts.append((table.family[added].p_for, table.family[added].p_against))
    return parts


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
