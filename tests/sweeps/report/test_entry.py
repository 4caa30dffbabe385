"""Numbers with their intervals, as text."""

from dataclasses import replace

import numpy as np
import pytest
from made_up import line

from sweeps.report import entry
from sweeps.report.entry import Entry, signed


@pytest.mark.parametrize(
    ("numbers", "texts"),
    [
        ((-0.3, -0.58, -0.02), ("-0.30", "[-0.58, -0.02]")),
        ((0.0004, -0.0001, 0.0011), ("+0.000", "[+0.000, +0.001]")),
        ((0.0, -1e-9, 1e-9), ("+0.000000", "[+0.000000, +0.000000]")),  # as small as it gets
        ((0.0, 0.0, 0.0), ("identical", "")),
        ((0.0003, 0.0003, 0.0003), ("+0.0003", "[+0.0003, +0.0003]")),
        ((0.001, -1.234, 1.236), ("+0.00", "[-1.23, +1.24]")),
        ((1.5, np.nan, np.nan), ("+1.50", "")),
    ],
)
def test_a_difference_has_digits_that_say_something(numbers, texts):
    assert signed(*numbers, 2) == texts


def test_an_entry_in_one_line():
    assert Entry("90.25", interval="± 0.50", mark=" ≈").whole == "90.25 ± 0.50 ≈"
    assert Entry("-0.30", interval="[-0.58, -0.02]", mark=", p = 0.037").whole == (
        "-0.30 [-0.58, -0.02], p = 0.037"
    )
    assert Entry("–").whole == "–"


def test_rows_that_do_not_differ_are_identical_and_have_no_p(table_s3):
    value = line(table_s3, "0.1").values["PC"]
    same = replace(value.difference, mean=0.0, low=0.0, high=0.0, p=1.0)
    assert entry.change(replace(value, difference=same, p_holm=1.0), "PC") == Entry("identical")
    assert entry.change(None, "PC") == entry.score(None, "PC") == Entry(entry.ABSENT)


def test_p_has_three_decimals():
    assert [entry.p_words(p) for p in (0.0004, 0.037, 1.0)] == ["< 0.001", "= 0.037", "= 1.000"]
    assert entry.published(50.6, "SA").text == "50.60" and entry.published(None, "SA").text == "–"
