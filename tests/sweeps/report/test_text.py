"""A table as Markdown and CSV."""

import csv
import io

import numpy as np
import pytest
from made_up import build, line

from sweeps import paper
from sweeps.ablations import ABLATIONS
from sweeps.report import text as text_module
from sweeps.report.layout import Block, Entry
from sweeps.report.text import markdown


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
