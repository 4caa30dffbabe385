"""Text from outside as LaTeX: everything that it would obey is escaped."""

from __future__ import annotations

import re

_TEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"$|$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "↑": r"$\uparrow$",
    "≈": r"$\approx$",
    "†": r"$\dagger$",
    "λ": r"$\lambda$",
    "Δ": r"$\Delta$",
    "–": "--",
    '"': "''",
    "“": "``",
    "”": "''",
    "−": "$-$",
    "·": r"$\cdot$",
    "↓": r"$\downarrow$",
    "→": r"$\to$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "²": "$^2$",
    "⁹": "$^9$",
    "⟨": r"$\langle$",
    "⟩": r"$\rangle$",
    "Σ": r"$\Sigma$",
    "α": r"$\alpha$",
    "δ": r"$\delta$",
    "σ": r"$\sigma$",
}


def tex(text: str) -> str:
    """`text` with everything LaTeX would obey escaped; symbols outside of ASCII become commands."""
    text = re.sub(r"λ_(\w+)", lambda m: "\0" + m.group(1) + "\1", text)
    text = re.sub(r"(?<![\w)])-(?=\d)", "−", text)  # of a number: no hyphen
    text = text.replace("--", "-\2-")  # of an option: no dash
    out = "".join(_TEX.get(c, c if c.isascii() or "À" <= c <= "ž" else "?") for c in text)
    out = out.replace("\2", "{}")
    return re.sub("\0(.*?)\1", r"$\\lambda_{\\mathrm{\1}}$", out)
