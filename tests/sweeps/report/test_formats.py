"""What holds for every format of a table at once."""

import csv
import io
import json

import pytest
from made_up import BASE, S3, build, results_of

from sweeps import tables
from sweeps.report import latex, page, plots, sheet
from sweeps.report import text as text_module
from sweeps.schema import cells


@pytest.mark.slow
def test_an_empty_table_renders():
    table = tables.build(S3, cells(S3, BASE, (0, 1, 2)), {})
    for text in (
        text_module.markdown(table),
        latex.latex(table),
        text_module.csv(table),
        page.html(table, sheet.svg(table, plots.panels)),
    ):
        assert "50.61" in text  # the published values stand there from the start
    assert "Incomplete: 12 of 12" in text_module.markdown(table)


@pytest.mark.slow
def test_the_same_results_give_the_same_bytes(tmp_path):
    texts = []
    for order in (1, -1):
        results = dict(list(results_of(S3).items())[::order])
        table = tables.build(S3, cells(S3, BASE, (0, 1, 2)), results)
        svg = sheet.svg(table, plots.panels)
        texts.append(
            [
                text_module.markdown(table),
                latex.latex(table),
                text_module.csv(table),
                svg,
                page.html(table, svg),
                text_module.provenance(table),
            ]
        )
    assert texts[0] == texts[1]


@pytest.mark.slow
def test_escaped_everywhere(evil):
    table = build(evil)
    svg = sheet.svg(table, plots.panels)
    whole = page.html(table, svg)
    assert "<script" not in whole and "<script" not in svg
    assert "<script" not in text_module.markdown(table)
    tex = latex.latex(table)
    assert r"\input" not in tex and r"\textbackslash{}input\{x\}" in tex
    for text in (text_module.markdown(table), tex, text_module.csv(table), whole, svg):
        assert "\x1b" not in text and "\u202e" not in text
    rows = list(csv.DictReader(io.StringIO(text_module.csv(table))))
    assert any(row["row"].startswith("'=cmd") for row in rows)
    assert not any(str(v).startswith(("=", "@")) for row in rows for v in row.values())
    json.loads(text_module.provenance(table))
