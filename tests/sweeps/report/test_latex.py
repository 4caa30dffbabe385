r"""Tables as LaTeX: safe, as wide as a paper's text, and compiled where a compiler is."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from made_up import build

from direct.common.errors import UserError
from sweeps.ablations import ABLATIONS
from sweeps.report import latex
from sweeps.report.entry import Entry
from sweeps.report.layout import Block

ROOT = Path(__file__).parents[3]
COMPILER = shutil.which("tectonic") or shutil.which("pdflatex")


@pytest.mark.slow
@pytest.mark.parametrize("name", list(ABLATIONS))
def test_a_fragment_is_balanced_and_ascii(name):
    """What a compiler would trip over first: braces, columns per row, characters it cannot read."""
    text = latex.latex(build(ABLATIONS[name]))
    bare = re.sub(r"\\[\\{}&%$#_]", "", text)
    assert bare.count("{") == bare.count("}") and text.isascii()
    assert len(re.findall(r"\\begin\{", text)) == len(re.findall(r"\\end\{", text))
    assert bare.count("$") % 2 == 0
    inner = r"\\begin\{tabular\}\[t\]\{@\{\}c@\{\}\}(.*?)\\\\(.*?)\\end\{tabular\}"
    flat = re.sub(inner, "x", text)
    found = re.findall(
        r"\\begin\{tabular\}\{@\{\}([^\n]*)@\{\}\}\n(.*?)\\end\{tabular\}", flat, re.S
    )
    assert found
    for spec, body in found:
        width = len(spec)
        rows = [row for row in re.findall(r"^(.*) \\\\$", body, re.M) if "multicolumn" not in row]
        assert len(rows) >= 2
        assert {len(re.split(r"(?<!\\)&", row)) for row in rows} == {width}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(ABLATIONS))
def test_a_fragment_is_no_document_and_fits_without_scaling(name):
    text = latex.latex(build(ABLATIONS[name]))
    assert "documentclass" not in text and "resizebox" not in text and r"\small" in text
    assert text.count(r"\label{") == 1 and text.count(r"\caption{") == 1
    caption = re.search(r"\\caption\{(.*)\}", text)[1]
    assert len(caption) < 200, "what else there is to say stands below"


def test_columns_are_the_papers_or_those_asked_for():
    table = build(ABLATIONS["sampling"])
    assert latex.columns_of(table) == ["SA", "PC", "AVG"]
    text = latex.latex(table, ("PC", "Total"))
    head = next(row for row in text.splitlines() if row.endswith(r"\\") and "PC" in row)
    assert "SA" not in head and "AVG" not in head and "Total" in head
    with pytest.raises(UserError, match=r"sampling has no column Totl; did you mean Total\?"):
        latex.columns_of(table, ("PC", "Totl"))


def test_a_long_table_is_several_floats_under_one_number():
    rows = [[Entry(f"row {k}"), Entry("+1.00", interval="[+0.50, +1.50]")] for k in range(50)]
    text = latex.fragment(
        "own", "A title.", ["A note."], [Block("b", [("", "r"), ("", "x")], rows, [])]
    )
    assert text.count(r"\begin{table}") == 3 == text.count(r"\end{table}")
    assert text.count(r"\addtocounter{table}{-1}") == 2 and text.count("A note.") == 1
    assert all(f"row {k} &" in text for k in range(50))


def test_a_wide_table_is_several_blocks_with_its_labels():
    heads = [("", "row"), *(("ours", f"m{k}") for k in range(12))]
    row = [Entry("one"), *[Entry("90.25", interval="± 0.50")] * 12]
    text = latex.fragment("own", "A title.", [], [Block("b", heads, [row], [])])
    assert text.count("one &") == text.count(r"\toprule") >= 2
    assert text.count(r"90.25\,{\scriptsize $\pm$ 0.50}") == 12


BLOCK = Block(
    "A title|",
    [("", "row"), ("ours", "PC"), ("ours", "SA"), ("paper", "PC")],
    [
        [Entry("one"), Entry("1", bold=True), Entry("2", underline=True), Entry("–")],
        [
            Entry("[two]"),
            Entry("+1.00", interval="[-1.00, +3.00]", mark=", p < 0.001"),
            Entry("3", bold=True, underline=True, interval="± 1", mark=" ≈"),
            Entry("5 %"),
        ],
    ],
    [1],
)


def test_a_block():
    text = latex.fragment("own", "A caption.", ["A note,", "in 2 parts."], [BLOCK])
    body = text.splitlines()
    assert body[0] == r"% own: a fragment; its document needs \usepackage{booktabs}"
    assert r"\caption{A caption.}" in body and r"\label{tab:own}" in body
    assert "A note, in 2 parts." in body
    start = body.index(r"\begin{tabular}{@{}lccc@{}}")
    assert body[start + 2] == (
        r" & \multicolumn{2}{c}{\scriptsize ours} & \multicolumn{1}{c}{\scriptsize paper} \\"
    )
    assert body[start + 3] == r"\cmidrule(lr){2-3}\cmidrule(lr){4-4}"
    assert body[start + 6 : start + 9] == [
        r"one & \textbf{1} & \underline{2} & -- \\",
        r"\midrule",
        r"{[}two] & \begin{tabular}[t]{@{}c@{}}+1.00, p $<$ 0.001\\"
        r"{\scriptsize [$-$1.00, +3.00]}\end{tabular} & "
        r"\underline{\textbf{3}}\,{\scriptsize $\pm$ 1} $\approx$ & 5 \% \\",
    ]


def test_main_shows_every_fragment_and_no_document(tmp_path):
    (tmp_path / "table_1.tex").write_text("a fragment")
    (tmp_path / "old.tex").write_bytes("\\begin{document} é".encode("latin-1"))
    (tmp_path / "folder.tex").mkdir()
    (tmp_path / "absent.tex").symlink_to("nowhere")
    text = latex.main_of(tmp_path)
    assert re.findall(r"\\input\{(.*?)\}", text) == ["table_1"]
    assert r"\plot{table_1}{table\_1}" in text
    (tmp_path / "main.tex").write_text(text)
    (tmp_path / "table_1_page.pdf").write_bytes(b"git keeps none: the same text without it")
    assert latex.main_of(tmp_path) == text


def compiled(folder, source=None):
    """Compiles `main.tex`, or this source, and gives the log. Nothing may run out of the text."""
    if source:
        (folder / "main.tex").write_text(source)
    tectonic = [COMPILER, "--untrusted", "--keep-logs", "main.tex"]
    pdflatex = [COMPILER, "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "main"]
    done = subprocess.run(
        tectonic if "tectonic" in COMPILER else pdflatex,
        cwd=folder,
        text=True,
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    said = (folder / "main.log").read_text(errors="replace")
    assert not re.findall(r"Overfull \\hbox.*|.*Float too large.*|.*undefined.*", said)
    return said


compiles = pytest.mark.skipif(not COMPILER, reason="needs tectonic, or pdflatex with booktabs")


@compiles
@pytest.mark.slow
def test_it_compiles_and_nothing_runs_out_of_the_text(evil, tmp_path):
    """Every table with its own columns and with all, one of hostile names, a long and wide one."""
    for name in ABLATIONS:
        table = build(ABLATIONS[name])
        (tmp_path / f"{name}.tex").write_text(latex.latex(table))
        (tmp_path / f"{name}_all.tex").write_text(latex.latex(table, table.ablation.metrics))
    (tmp_path / "evil.tex").write_text(latex.latex(build(evil)))
    label, long = "twelve words are more than a column of labels holds in two lines", "a note " * 80
    wide = [("", "row"), *(("ours", f"m{k}") for k in range(12)), ("", "remark")]
    row = [Entry(label), *[Entry("90.25", True, False, "± 0.50", " ≈")] * 12, Entry(label)]
    (tmp_path / "wide.tex").write_text(
        latex.fragment("wide", long[:180], [long] * 4, [Block("b", wide, [row] * 60, [30])])
    )
    compiled(tmp_path, latex.main_of(tmp_path))


@compiles
@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / "reports/tiny/main.tex").exists(), reason="no report has one")
def test_the_committed_report_compiles(tmp_path):
    for path in (ROOT / "reports/tiny").iterdir():
        if path.suffix in (".tex", ".pdf"):
            shutil.copy(path, tmp_path)
    compiled(tmp_path)


@compiles
@pytest.mark.slow
def test_main_shows_the_plots_that_are_there(tmp_path):
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(5, 2))
    figure.savefig(tmp_path / "own_page.pdf")
    plt.close(figure)
    (tmp_path / "own.tex").write_text(latex.fragment("own", "A caption.", ["A note."], [BLOCK]))
    (tmp_path / "bare.tex").write_text(latex.fragment("bare", "A caption.", [], [BLOCK]))
    said = compiled(tmp_path, latex.main_of(tmp_path))
    assert "<use ./own_page.pdf>" in said or "own_page.pdf" in said
    assert "bare_page" not in said
