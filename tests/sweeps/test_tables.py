"""Numbers of a table against a loop over the results; what comes from outside is escaped."""

import csv
import io
import json
import re
import shutil
import subprocess
from dataclasses import astuple, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from direct.common.errors import UserError
from direct.profiles import profile
from direct.settings import override
from sweeps import paper, stats, tables
from sweeps.ablations import ABLATIONS
from sweeps.report import layout, page, plots
from sweeps.report import text as text_module
from sweeps.schema import Row, cells

ROOT = Path(__file__).parents[2]

BASE = override(profile("tiny"), "evaluate.prompts=12")
S3 = ABLATIONS["lambda_hard"]


def results_of(table, seeds=(0, 1, 2), change=lambda cell, scores: scores):
    """Results as read from disk: a prompt effect, a gain with the swept weight, a little noise."""
    found = {}
    for i, cell in enumerate(cells(table, BASE, seeds)):
        rng = np.random.default_rng(i)
        shared = np.random.default_rng(99).random(12)
        gain = cell.config.loss.lambda_hard * bool(cell.config.train.steps)
        sa, pc = (0.5 * shared + gain + 0.02 * rng.random(12) for _ in range(2))
        scores = {
            "SA": sa,
            "PC": pc,
            "AVG": (sa + pc) / 2,
            "PCcap": pc,
            "Instr": 3 * sa,
            "Frame": np.ones(12),
            "Temp": pc,
            "Mass": sa,
            "Penetr": np.ones(12),
            "Total": 3 * sa + 2 + pc + sa,
        }
        scores = change(cell, scores)
        status = {"status": "done"} if scores else {"status": "diverged", "reason": "at step 3"}
        found[cell.id] = {
            "cell": cell.id,
            "config": {"seed": cell.config.seed},
            **status,
            "prompts": [f"p{k}" for k in range(12)] if scores else [],
            "scores": {name: values.tolist() for name, values in scores.items()},
            "provenance": {"commit": "abc123", "device": "a processor"},
        }
    return found


def build(table=S3, seeds=(0, 1, 2), **more):
    return tables.build(table, cells(table, BASE, seeds), results_of(table, seeds, **more))


def line(table, label):
    return next(x for x in table.lines if x.row.label == label)


def matrix(results, table, label, metric):
    own = [cell for cell in cells(table, BASE, (0, 1, 2)) if cell.row == label]
    return np.array([results[cell.id]["scores"][metric] for cell in own])


def same(found, expected):
    """Equal but for the order of sums."""
    for a, b in zip(astuple(found), astuple(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)
    return True


def pool(results, metric, labels=("0.005", "0.02", "0.1", "0 (MaNS only)")):
    return stats.pool(np.stack([matrix(results, S3, x, metric).mean(-1) for x in labels]))


def test_values_and_paired_differences_by_hand():
    results, table = results_of(S3), build()
    for label in ("0.005", "0.1"):
        own, base = (matrix(results, S3, x, "PC") for x in (label, "0.02"))
        value = line(table, label).values["PC"]
        pooled = pool(results, "PC")
        assert same(value.mean, stats.estimate(own, pooled.of_row(3)))
        assert same(value.difference, stats.estimate(own - base, pooled.of_difference(3)))
        assert value.mean.seeds == 3 and value.mean.prompts == 12
    assert line(table, "0.02").values["PC"].difference is None


def test_the_base_model_pairs_seed_by_seed_and_pools_nothing():
    S1 = ABLATIONS["lambda_anc"]
    results, table = results_of(S1), build(S1)
    zero = matrix(results, S1, "zero-shot", "SA")
    assert zero.shape == (3, 12)
    value = line(table, "zero-shot").values["SA"]
    assert same(value.mean, stats.estimate(zero))
    assert same(value.difference, stats.estimate(zero - matrix(results, S1, "0.2", "SA")))


def test_holm_is_over_the_declared_contrasts():
    table = build()
    raw = {key: line(table, key[0]).values[key[1]].difference.p for key in S3.contrasts}
    adjusted = dict(zip(raw, stats.holm(list(raw.values())), strict=True))
    for line_ in table.lines:
        for metric, value in line_.values.items():
            assert value.p_holm == adjusted.get((line_.row.label, metric))


def test_seeds_that_only_one_row_has_are_left_out_of_the_difference():
    planned = cells(S3, BASE, (0, 1, 2))
    missing = next(c for c in planned if c.row == "0.02" and c.config.seed == 1)
    results = results_of(S3)
    own, base = (matrix(results, S3, x, "PC") for x in ("0.1", "0.02"))
    results.pop(missing.id)
    table = tables.build(S3, planned, results)
    found = line(table, "0.1").values["PC"].difference
    means = [
        matrix(results, S3, x, "PC")[[0, 2]].mean(-1) for x in ("0.005", "0.1", "0 (MaNS only)")
    ]
    seeds = stats.pool(np.stack([*means, base[[0, 2]].mean(-1)])).of_difference(2)
    assert same(found, stats.estimate((own - base)[[0, 2]], seeds))
    assert line(table, "0.1").values["PC"].mean.seeds == 3
    assert "Incomplete: 1 of 12 cells" in layout.caption(table)


def test_best_second_and_what_is_not_separable():
    table = build()
    marks = {x.row.label: x.values["PC"] for x in table.lines}
    assert marks["0.1"].best and marks["0.02"].second
    assert not any(v.tied for k, v in marks.items() if k in ("0.1", "0.02"))  # 8 points apart

    def close(cell, scores):
        scores["PC"] = scores["PC"] + (0.0801 if cell.row == "0.02" else 0)
        return scores

    assert line(build(change=close), "0.02").values["PC"].tied


def test_values_that_print_alike_share_a_rank():
    def alike(cell, scores):
        return {name: np.full(12, 0.25) for name in scores}

    assert not any(v.best or v.second for x in build(change=alike).lines for v in x.values.values())


def test_the_caption_has_n_interval_power_and_commit():
    table = build()
    text = layout.caption(table)
    for words in (
        "3 training seeds × 12 prompts",
        "random seeds",
        "world judge, tiny",
        "paper, Wan2.1-1.3B",
        "80 % power, after Holm over 4 contrasts",
        "abc123",
    ):
        assert words in text
    printed = float(re.search(r"difference: ([\d.]+) points", text)[1])
    d = [line(table, label).values["PC"].difference for label in ("0.005", "0.1")]
    by_normal = max(
        x.se * (stats.critical(x.parts, 0.05 / 4) + stats.critical(x.parts, 0.4)) for x in d
    )
    assert printed == pytest.approx(100 * by_normal, rel=0.1)
    assert "this one seed (fixed)" in layout.caption(build(seeds=(0,)))


def test_a_constant_column_and_a_diverged_row():
    def change(cell, scores):
        if cell.row == "0.1" and cell.config.seed == 0:
            return {}
        return scores | {"AVG": np.ones(12)}

    table = build(change=change)
    assert line(table, "0.02").values["AVG"].mean.half == 0
    high = line(table, "0.1")
    assert high.diverged == ("at step 3",) and not high.values["PC"].best
    text = text_module.markdown(table)
    assert "0.1†" in text and "0.1 diverged in 1 of 3 runs" in text


def test_an_empty_table_renders():
    table = tables.build(S3, cells(S3, BASE, (0, 1, 2)), {})
    for text in (
        text_module.markdown(table),
        text_module.latex(table),
        text_module.csv(table),
        page.html(table, plots.svg(table)),
    ):
        assert "50.61" in text  # the published values stand there from the start
    assert "Incomplete: 12 of 12" in text_module.markdown(table)


def test_cells_of_other_prompts_are_refused():
    results = results_of(S3)
    first = next(iter(results))
    results[first]["prompts"] = [f"q{k}" for k in range(12)]
    with pytest.raises(UserError, match="judged on other prompts"):
        tables.build(S3, cells(S3, BASE, (0, 1, 2)), results)


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


def test_the_same_results_give_the_same_bytes(tmp_path):
    texts = []
    for order in (1, -1):
        results = dict(list(results_of(S3).items())[::order])
        table = tables.build(S3, cells(S3, BASE, (0, 1, 2)), results)
        svg = plots.svg(table)
        texts.append(
            [
                text_module.markdown(table),
                text_module.latex(table),
                text_module.csv(table),
                svg,
                page.html(table, svg),
                text_module.provenance(table),
            ]
        )
    assert texts[0] == texts[1]


EVIL = '=cmd|"/C calc"!A0 \\input{x} $ & % # _ { } ~ ^ <script>alert(1)</script> \x1b[2J \u202e | `'


@pytest.fixture
def evil():
    rows = (*S3.rows[:2], Row(EVIL, {"loss.lambda_hard": 0.1}), *S3.rows[3:])
    return replace(S3, rows=rows, contrasts=(), title=EVIL)


def test_escaped_everywhere(evil):
    table = build(evil)
    svg = plots.svg(table)
    whole = page.html(table, svg)
    assert "<script" not in whole and "<script" not in svg
    assert "<script" not in text_module.markdown(table)
    tex = text_module.latex(table)
    assert r"\input" not in tex and r"\textbackslash{}input\{x\}" in tex
    for text in (text_module.markdown(table), tex, text_module.csv(table), whole, svg):
        assert "\x1b" not in text and "\u202e" not in text
    rows = list(csv.DictReader(io.StringIO(text_module.csv(table))))
    assert any(row["row"].startswith("'=cmd") for row in rows)
    assert not any(str(v).startswith(("=", "@")) for row in rows for v in row.values())
    json.loads(text_module.provenance(table))


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


class Balanced(HTMLParser):
    VOID = ("meta", "br", "img", "link", "input")

    def __init__(self):
        super().__init__()
        self.open, self.links = [], []

    def handle_starttag(self, tag, attributes):
        if tag not in self.VOID:
            self.open.append(tag)
        self.links += [v for k, v in attributes if k in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def drawn():
    """Table S3 and its plot."""
    table = build()
    return table, plots.svg(table)


def test_html_is_whole_and_asks_nothing_of_the_network(drawn):
    text = page.html(*drawn)
    parser = Balanced()
    parser.feed(text)
    assert parser.open == [] and all(link.startswith(("#", "data:")) for link in parser.links)
    assert "@import" not in text and "url(http" not in text


def test_the_plot_has_every_panel(drawn):
    table, svg = drawn
    assert svg.count("world judge, tiny") == len(table.ablation.metrics)
    assert svg.count(paper.SCALE) == len([m for m in table.ablation.metrics if m != "PCcap"])
    assert "<dc:date>" not in svg


def test_rows_without_an_axis_stand_side_by_side():
    few = replace(ABLATIONS["sampling"], metrics=("SA", "Mass", "Total"))
    svg = plots.svg(build(few))
    assert svg.count("world judge, tiny") == 2  # Mass is in the table alone
    assert all(svg.count(label) >= 2 for label in ("Zero-shot", "+ MaNS + MiNS"))
