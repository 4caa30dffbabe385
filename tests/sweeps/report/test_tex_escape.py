"""What LaTeX would obey is escaped."""

from sweeps.report.tex_escape import tex


def test_symbols_and_minus_signs():
    assert tex("Σ p_k², −1 to -0.5 [-2, +3]") == (r"$\Sigma$ p\_k$^2$, $-$1 to $-$0.5 [$-$2, +3]")
    assert tex("--rerun") == "-{}-rerun", "no dash"
    assert tex("Wan2.1-1.3B, non-zero, é, κ") == "Wan2.1-1.3B, non-zero, é, ?"


def test_every_special_character_and_a_symbol_with_an_index():
    assert tex("λ_hard = 5 % & more_") == (r"$\lambda_{\mathrm{hard}}$ = 5 \% \& more\_")
    assert tex("a\\b{c}~^") == r"a\textbackslash{}b\{c\}\textasciitilde{}\textasciicircum{}"
