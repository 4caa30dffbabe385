"""Blocks of a written table."""

import pytest
from made_up import BASE, build, line, results_of

from sweeps import tables
from sweeps.ablations import ABLATIONS
from sweeps.report import layout
from sweeps.schema import cells


def test_table_s5_shows_what_the_exclusion_changes():
    declared = ABLATIONS["clusters"]
    planned, results = cells(declared, BASE, (0, 1)), results_of(declared, (0, 1))
    for cell in planned:
        macro = cell.config.macro
        results[cell.id]["negatives"] = {
            "sum_p_squared": 1 / macro.clusters,
            "distance": 2.1,
            "uniform_distance": 2.0,
            "changed": 1 / macro.clusters + 0.1 * macro.exclude_same_law,
        }
    *_, block = layout.blocks(tables.build(declared, planned, results))
    rows = {row[0].text: [entry.text for entry in row[1:]] for row in block.rows}
    assert len(rows) == 10
    assert rows["32"] == ["0.031", "0.131", "2.1000", "+5.00 %"]
    assert rows["32, laws not excluded*"] == ["0.031", "0.031", "2.1000", "+5.00 %"]
    bare = layout.blocks(build(declared))
    assert len(bare) == 2, "results of another version do not say it"


def test_neighbouring_columns_of_one_group_share_a_header():
    columns = [("", "a"), ("", "b"), ("x", "c"), ("y", "d"), ("y", "e"), ("x", "f")]
    assert layout.runs(columns) == [("", 2), ("x", 1), ("y", 2), ("x", 1)]
    assert layout.runs([]) == []


def test_markdown_and_html_are_text():
    assert layout.escape_markdown("a|b *c* <d> & [e]\x1b") == (r"a\|b \*c\* &lt;d&gt; &amp; \[e\] ")


def test_a_rule_stands_where_the_papers_rows_end(table_s3):
    scores, changes = layout.blocks(table_s3)
    assert [row[0].text for row in scores.rows] == ["0.005", "0.02", "0.1", "0 (MaNS only)*"]
    assert scores.rules == [3]
    assert [row[0].text for row in changes.rows] == ["0.005", "0.1", "0 (MaNS only)*"]
    assert changes.rules == [2] and changes.title == "Paired differences to λ_hard = 0.02"


@pytest.mark.slow
def test_every_row_is_as_wide_as_its_columns():
    for name, declared in ABLATIONS.items():
        if not declared.measured:
            for block in layout.blocks(build(declared, seeds=(0, 1))):
                assert {len(row) for row in block.rows} == {len(block.columns)}, name


def test_an_entry_is_the_mean_and_its_half_width_in_printed_units(table_s3):
    scores, changes = layout.blocks(table_s3)
    at = [title for _, title in scores.columns].index("PC ↑")
    value = line(table_s3, "0.1").values["PC"]
    shown = scores.rows[2][at]
    assert shown.whole == f"{100 * value.mean.mean:.2f} ± {100 * value.mean.half:.2f}"
    assert shown.bold and not shown.underline
    at = [title for _, title in changes.columns].index("PC")
    d = value.difference
    told = f"{100 * d.mean:+.2f} [{100 * d.low:+.2f}, {100 * d.high:+.2f}], p "
    assert changes.rows[1][at].whole.startswith(told)
