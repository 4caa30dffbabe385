"""Claims and their verdicts in words: `claims.md`, and the rows of the page."""

from __future__ import annotations

from dataclasses import dataclass

from direct.common.text import plain

from ..claims import ALPHA, NOT_RUN, UNRESOLVED, Finding, Verdicts, counts
from ..control import Control
from ..paper_claims import Contrast
from ..stats import Estimate
from .entry import ABSENT
from .layout import escape_markdown


def contrast_words(contrast: Contrast) -> str:
    """`PC: 32 - 8 > 0`, as a reader would write it."""
    metrics = {metric for _, _, metric in contrast.terms}
    parts = []
    for weight, row, metric in contrast.terms:
        name = row if len(metrics) == 1 else f"{metric}({row})"
        number = "" if abs(weight) == 1 else f"{abs(weight):.4g} × "
        parts.append(f"{'−' if weight < 0 else '+'} {number}[{name}]")
    left = " ".join(parts).removeprefix("+ ")
    prefix = f"{metrics.pop()}: " if len(metrics) == 1 else ""
    return prefix + (f"{left} > 0" if contrast.margin is None else f"|{left}| < {contrast.margin}")


def estimate_words(d: Estimate) -> str:
    return f"{d.mean:+z.2f} [{d.low:+z.2f}, {d.high:+z.2f}]"


HEADS = ("claim", "verdict", "p, Holm", "contrast and our 95 % interval", "paper; sweep")
BESIDE = "without guidance"
Row = tuple[str, str, str, list[str], str]


@dataclass(frozen=True)
class Part:
    """Claims under one heading. `beside`: the verdicts on the same claims without guidance."""

    title: str
    explanation: str
    findings: list[Finding]
    beside: dict[str, Finding] | None = None

    @property
    def heads(self) -> tuple[str, ...]:
        return HEADS if self.beside is None else (*HEADS[:2], BESIDE, *HEADS[2:])

    @property
    def rows(self) -> list[tuple[str, list[str], list[str], str]]:
        """Verdict's kind; texts before the contrasts; contrasts; text behind them."""
        found = []
        for finding, (text, verdict, p, contrasts, place) in zip(
            self.findings, rows(self.findings), strict=True
        ):
            kind = {UNRESOLVED: "unresolved", NOT_RUN: "open"}.get(finding.verdict, finding.verdict)
            before = [text, verdict, p]
            if self.beside is not None:
                before.insert(2, _beside(self.beside.get(finding.claim.name)))
            found.append((kind, before, contrasts, place))
        return found


def parts(verdicts: Verdicts, judge_name: str) -> list[Part]:
    """The paper's claims, and those of the mechanism."""
    return [
        Part(
            "Claims of the paper",
            explanation(verdicts.paper, judge_name)
            + " Claims about Table 1 are judged at the profile's guidance and, beside it, without.",
            verdicts.paper,
            verdicts.unguided,
        ),
        Part(
            "Claims about the mechanism",
            f"{len(verdicts.mechanism)} claims of docs/theory.md: {counts(verdicts.mechanism)}. "
            "Contrasts and margins were declared in sweeps/mechanism_claims.py.",
            verdicts.mechanism,
        ),
    ]


def _beside(finding: Finding | None) -> str:
    if finding is None:
        return ABSENT
    (_, verdict, p, _, _) = rows([finding])[0]
    return verdict if p == ABSENT else f"{verdict}, p {p}"


def rows(findings: list[Finding]) -> list[Row]:
    """Columns as `HEADS`; the fourth is a list."""
    found = []
    for x in findings:
        claim = x.claim
        texts = [contrast_words(c) for c in claim.contrasts]
        if x.estimates:
            texts = [f"{t}: {estimate_words(d)}" for t, d in zip(texts, x.estimates, strict=True)]
        p = ("< 0.001" if x.p_holm < 0.001 else f"{x.p_holm:.3f}") if x.estimates else ABSENT
        verdict = x.verdict + (f" ({x.why})" if x.why else "")
        text = claim.text + (f" Note: {claim.note}" if claim.note else "")
        found.append((plain(text), verdict, p, texts, f"{claim.place}; {claim.sweep}"))
    return found


def explanation(findings: list[Finding], judge_name: str) -> str:
    return (
        f"{len(findings)} claims: {counts(findings)}. Scores: {judge_name}; a verdict is about "
        "this scale, never a replication of a published number. Contrasts, α = "
        f"{ALPHA} and margins were declared in sweeps/paper_claims.py before the runs. A claim "
        "holds if all its contrasts do; Holm is over the claims of one table."
    )


def markdown(verdicts: Verdicts, judge_name: str, control: Control) -> str:
    """`claims.md`, the controls first."""
    lines = ["# Claims", ""]
    for text in filter(None, (control.positive, control.negative)):
        lines += [escape_markdown(text), ""]
    for part in parts(verdicts, judge_name):
        lines += [
            f"## {part.title}",
            "",
            escape_markdown(part.explanation),
            "",
            "| " + " | ".join(part.heads) + " |",
            "|" + "---|" * len(part.heads),
        ]
        for _, (text, verdict, *more), contrasts, place in part.rows:
            cells = [
                escape_markdown(text),
                f"**{escape_markdown(verdict)}**",
                *map(escape_markdown, more),
                "<br>".join(map(escape_markdown, contrasts)),
                escape_markdown(place),
            ]
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)
