"""Claims and their verdicts in words: `claims.md`, and the rows of the page."""

from __future__ import annotations

from direct.common.text import plain

from ..claims import ALPHA, Finding, counts
from ..paper_claims import Contrast
from ..stats import Estimate
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


def rows(findings: list[Finding]) -> list[tuple[str, str, str, list[str], str]]:
    """Columns as `HEADS`; the fourth is a list."""
    found = []
    for x in findings:
        claim = x.claim
        texts = [contrast_words(c) for c in claim.contrasts]
        if x.estimates:
            texts = [f"{t}: {estimate_words(d)}" for t, d in zip(texts, x.estimates, strict=True)]
        p = ("< 0.001" if x.p_holm < 0.001 else f"{x.p_holm:.3f}") if x.estimates else "–"
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


def markdown(findings: list[Finding], judge_name: str) -> str:
    """`claims.md`."""
    lines = [
        "# The paper's claims",
        "",
        escape_markdown(explanation(findings, judge_name)),
        "",
        "| " + " | ".join(HEADS) + " |",
        "|" + "---|" * len(HEADS),
    ]
    for text, verdict, p, contrasts, place in rows(findings):
        cells = [
            escape_markdown(text),
            f"**{escape_markdown(verdict)}**",
            escape_markdown(p),
            "<br>".join(map(escape_markdown, contrasts)),
            escape_markdown(place),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
