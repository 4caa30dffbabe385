"""The transcription against its own arithmetic, and spot values against the text."""

import pytest

from sweeps import paper
from sweeps.ablations import ABLATIONS

ROWS = [(table, label, row) for table, rows in paper.TABLES.items() for label, row in rows.items()]


@pytest.mark.parametrize(("table", "label", "row"), [x for x in ROWS if "AVG" in x[2]])
def test_avg_is_the_mean_of_sa_and_pc(table, label, row):
    assert row["AVG"] == pytest.approx((row["SA"] + row["PC"]) / 2, abs=0.0051)


@pytest.mark.parametrize(("table", "label", "row"), [x for x in ROWS if "Total" in x[2]])
def test_total_is_the_sum_of_its_five_columns(table, label, row):
    parts = sum(row[name] for name in ("Instr", "Frame", "Temp", "Mass", "Penetr"))
    assert row["Total"] == pytest.approx(parts, abs=0.011)
    off = abs(row["Total"] - parts) > 0.006
    assert off == (label in ("+ MaNS", "+ MiNS")), "exactly these two are 0.01 off as published"


def test_rows_that_two_tables_share():
    t1, t2, s1, s3, s5 = (paper.TABLES[name] for name in ("1", "2", "S1", "S3", "S5"))
    assert t1["Zero-shot"] == t2["Wan 2.1-T2V (base)"]
    assert t1["+ SFT + MaNS + MiNS (DiReCT)"] == t2["DiReCT (ours)"]
    for own, other in (
        (s1["0.2"], t1["+ SFT"]),
        (s3["0.02"], t1["+ MaNS + MiNS"]),
        (s5["32"], t1["+ SFT + MaNS + MiNS (DiReCT)"]),
    ):
        assert own == {name: other[name] for name in paper.VIDEOPHY}
    assert set(paper.PARAMETERS) == set(t2)


def test_every_published_row_of_a_declared_table_is_a_row_of_it():
    for ablation in ABLATIONS.values():
        labels = {row.label for row in ablation.rows if not row.reference}
        assert not ablation.published or labels == set(ablation.published)
