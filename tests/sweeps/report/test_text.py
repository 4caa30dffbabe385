"""A table as Markdown, LaTeX and CSV."""

import csv
import io
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from made_up import build, line

from sweeps import paper
from sweeps.ablations import ABLATIONS
from sweeps.report import text as text_module
from sweeps.report.layout import Block, Entry
from sweeps.report.text import markdown

ROOT = Path(__file__).parents[3]


def test_published_values_are_as_printed_and_labelled():
    text = text_module.markdown(build())
    rows = {row.split("|")[1].strip(): row for row in text.splitlines() if row.startswith("| 0.")}
    block = text.split("## Paired")[0]
    for label, row in paper.TABLES["S3"].items():
        printed = next(x for x in block.splitlines() if x.startswith(f"| {label} |"))
        assert all(f" {value:.2f} |" in printed for value in row.values())
    assert rows and "paper, Wan2.1-1.3B: VideoPhy (%)" in block
    assert "world judge, tiny (%)" in block


def test_csv_has_full_precision():
    table = build()
    rows = list(csv.DictReader(io.StringIO(text_module.csv(table))))
    assert len(rows) == 4 * 4
    for row in rows:
        value = line(table, row["row"]).values[row["metric"]]
        assert float(row["mean"]) == value.mean.mean and float(row["low"]) == value.mean.low
        means = [float(part.split(":")[1]) for part in row["seed_means"].split()]
        assert np.mean(means) == pytest.approx(value.mean.mean)
        if value.difference:
            assert float(row["difference_mean"]) == value.difference.mean
            assert float(row["difference_bootstrap_low"]) < float(row["difference_bootstrap_high"])
    assert rows[0]["published"] == "50.61" and "VideoPhy" not in rows[0]["judge"]


@pytest.mark.parametrize("name", list(ABLATIONS))
def test_latex_is_balanced_and_ascii(name):
    """What a compiler would trip over first: braces, columns per row, characters it cannot read."""
    text = text_module.latex(build(ABLATIONS[name]))
    bare = re.sub(r"\\[\\{}&%$#_]", "", text)
    assert bare.count("{") == bare.count("}") and text.isascii()
    assert len(re.findall(r"\\begin\{", text)) == len(re.findall(r"\\end\{", text))
    assert bare.count("$") % 2 == 0
    for spec, body in re.findall(r"\\begin\{tabular\}\{(lc+)\}(.*?)\\end\{tabular\}", text, re.S):
        rows = [row for row in re.findall(r"^(.*) \\\\$", body, re.M) if "multicolumn" not in row]
        assert len(rows) >= 2
        assert {len(re.split(r"(?<!\\)&", row)) for row in rows} == {len(spec)}


def test_symbols_and_minus_signs_in_latex():
    assert text_module.tex("Σ p_k², −1 to -0.5 [-2, +3]") == (
        r"$\Sigma$ p\_k$^2$, $-$1 to $-$0.5 [$-$2, +3]"
    )
    assert text_module.tex("Wan2.1-1.3B, non-zero, é, κ") == "Wan2.1-1.3B, non-zero, é, ?"


def pdflatex(path, folder):
    """What it prints; the file must compile."""
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", str(path)],
        cwd=folder,
        text=True,
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    return done.stdout


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex with booktabs")
def test_latex_compiles_as_it_is(evil, tmp_path):
    for name, table in (("evil", build(evil)), ("sampling", build(ABLATIONS["sampling"]))):
        (tmp_path / f"{name}.tex").write_text(text_module.latex(table))
        pdflatex(tmp_path / f"{name}.tex", tmp_path)


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex with booktabs")
@pytest.mark.parametrize(
    "path", sorted((ROOT / "reports/tiny").glob("*.tex")), ids=lambda path: path.stem
)
def test_committed_latex_compiles(path, tmp_path):
    said = pdflatex(path, tmp_path)
    assert not re.search(r"Overfull \\hbox \(\d{3,}", said), "runs out of the page"


def test_peers_rows_say_what_they_need():
    text = markdown(build(ABLATIONS["sota"]))
    assert "| CogVideoX-5B | needs profile wan2.1-t2v-1.3b | –" in text
    assert "| LTX | needs profile wan2.1-t2v-1.3b | –" in text
    assert "| 5B | 47.30 | 42.79 |" in text and "3 training seeds" in text


@pytest.mark.parametrize(
    ("value", "safe"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@cmd", "'@cmd"),
        ("\t=1", " =1"),  # a tab is no character of a text
        ("0.005", "0.005"),
        ("", ""),
        (-1.5, -1.5),
        (None, None),
        (True, True),
    ],
)
def test_a_spreadsheet_runs_no_text(value, safe):
    assert text_module.formula_safe(value) == safe


def test_tex_of_every_special_character_and_of_a_symbol_with_an_index():
    assert text_module.tex("λ_hard = 5 % & more_") == (
        r"$\lambda_{\mathrm{hard}}$ = 5 \% \& more\_"
    )
    assert text_module.tex("a\\b{c}~^") == (
        r"a\textbackslash{}b\{c\}\textasciitilde{}\textasciicircum{}"
    )


BLOCK = Block(
    "A title|",
    [("", "row"), ("ours", "PC"), ("ours", "SA"), ("paper", "PC")],
    [
        [Entry("one"), Entry("1", bold=True), Entry("2", underline=True), Entry("–")],
        [Entry("[two]"), Entry("a|b"), Entry("3", bold=True, underline=True), Entry("5 %")],
    ],
    [1],
)


def test_a_block_in_markdown():
    assert text_module.markdown_block(BLOCK).splitlines() == [
        r"## A title\|",
        "",
        "| row | PC<br>ours | SA<br>ours | PC<br>paper |",
        "| --- | --- | --- | --- |",
        "| one | **1** | <u>2</u> | – |",
        r"| \[two\] | a\|b | <u>**3**</u> | 5 % |",
    ]


def test_a_block_in_latex():
    text = text_module.latex_document("own", ["A caption,", "in 2 parts."], [BLOCK])
    body = text.splitlines()
    assert r"\caption{A caption, in 2 parts.}" in body and r"\label{tab:own}" in body
    start = body.index(r"\begin{tabular}{lccc}")
    assert body[start + 2] == (
        r"\multicolumn{1}{c}{} & \multicolumn{2}{c}{ours} & \multicolumn{1}{c}{paper} \\"
    )
    assert body[start + 3] == r"\cmidrule(lr){2-3}\cmidrule(lr){4-4}"
    assert body[start + 6 : start + 9] == [
        r"one & \textbf{1} & \underline{2} & -- \\",
        r"\midrule",
        r"{[}two] & a$|$b & \underline{\textbf{3}} & 5 \% \\",
    ]
