"""Claims and their verdicts in words: `claims.md`, and the rows of the page."""

from __future__ import annotations

from dataclasses import dataclass

from direct.common.text import plain

from ..claims import ALPHA, NOT_RUN, UNRESOLVED, Finding, Verdicts, counts
from ..control import Control
from ..paper_claims import Contrast
from ..schema import METRICS
from ..stats import Estimate
from .entry import ABSENT, p_words, signed
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


def estimate_words(contrast: Contrast, d: Estimate, p: float | None = None) -> str:
    """`-0.30 [-0.58, -0.02], p = 0.037`: p where the table has declared the contrast itself."""
    decimals = max(METRICS[metric].decimals for _, _, metric in contrast.terms)
    text, interval = signed(d.mean, d.low, d.high, decimals)
    return f"{text} {interval}".strip() + (
        f", p {p_words(p)}" if interval and p is not None else ""
    )


FAMILY = (
    "One Holm family per table: the contrasts that it declared and, per claim, what that adds to "
    "them. So a contrast has one p wherever it stands. A claim holds if all its contrasts do: it "
    "has the largest p of its parts, and against it speaks the smallest."
)
KINDS = {  # of a verdict, and its name on a chip
    "reproduced": "reproduced",
    "contradicted": "contradicted",
    "unresolved": "not resolved",
    "open": "not run",
}
SHOWN = 5  # contrasts of a claim that are not folded
HEADS = ("claim", "verdict", "p, Holm", "contrast and our 95 % interval", "paper; sweep")
BESIDE = "without guidance"
Row = tuple[str, str, str, list[str], str]


@dataclass(frozen=True)
class Part:
    """Claims under one heading. `beside`: the verdicts on the same claims without guidance."""

    title: str
    counts: str
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
            f"{len(verdicts.paper)} claims: {counts(verdicts.paper)}.",
            explanation(judge_name)
            + " Claims about Table 1 are judged at the profile's guidance and, beside it, without.",
            verdicts.paper,
            verdicts.unguided,
        ),
        Part(
            "Claims about the mechanism",
            f"{len(verdicts.mechanism)} claims of docs/theory.md: {counts(verdicts.mechanism)}.",
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
            alone = x.alone or (None,) * len(x.estimates)
            told = map(estimate_words, claim.contrasts, x.estimates, alone)
            texts = [f"{text}: {said}" for text, said in zip(texts, told, strict=True)]
        p = ("< 0.001" if x.p_holm < 0.001 else f"{x.p_holm:.3f}") if x.estimates else ABSENT
        verdict = x.verdict + (f" ({x.why})" if x.why else "")
        text = claim.text + (f" Note: {claim.note}" if claim.note else "")
        found.append((plain(text), verdict, p, texts, f"{claim.place}; {claim.sweep}"))
    return found


def explanation(judge_name: str) -> str:
    return (
        f"Scores: {judge_name}; a verdict is about "
        "this scale, never a replication of a published number. Contrasts, α = "
        f"{ALPHA} and margins were declared in sweeps/paper_claims.py before the runs. {FAMILY}"
    )


def _folded(texts: list[str]) -> str:
    """The first few lines, and the others where the reader asks for them."""
    shown, more = "<br>".join(texts[:SHOWN]), texts[SHOWN:]
    if not more:
        return shown
    return f"{shown}<details><summary>{len(more)} more</summary>{'<br>'.join(more)}</details>"


def markdown(verdicts: Verdicts, judge_name: str, control: Control) -> str:
    """`claims.md`, the controls first."""
    lines = ["# Claims", ""]
    for text in filter(None, (control.positive, control.negative)):
        lines += [escape_markdown(text), ""]
    for part in parts(verdicts, judge_name):
        lines += [
            f"## {part.title}",
            "",
            escape_markdown(f"{part.counts} {part.explanation}"),
            "",
            "| " + " | ".join(part.heads) + " |",
            "|" + "---|" * len(part.heads),
        ]
        for _, (text, verdict, *more), contrasts, place in part.rows:
            cells = [
                escape_markdown(text),
                f"**{escape_markdown(verdict)}**",
                *map(escape_markdown, more),
                _folded([*map(escape_markdown, contrasts)]),
                escape_markdown(place),
            ]
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)
