"""Tables S4 and S6 from known readings: their numbers, and what stands beside them."""

import numpy as np
import pytest
from made_up_readings import S4, S6, built, gradients, seconds, value

from sweeps.report.text import markdown, provenance


def test_table_s6_holds_what_was_put_in():
    table = built(S6, gradients)
    for label, kind in (("ΔFM (random neg.)", "random"), ("DiReCT-MaNS (ours)", "mans")):
        made = [gradients(np.random.default_rng(i))[f"{kind}.cosine"] for i in range(3)]
        assert value(table, label, "cosine").mean.mean == pytest.approx(np.mean(made))
        expected = np.mean([x.std(ddof=1) for x in made])
        assert value(table, label, "deviation").mean.mean == pytest.approx(expected, rel=0.02)
        assert value(table, label, "correlation").mean.mean == pytest.approx(1)
        assert value(table, label, "cosine").scores.matrix.shape == (3, 40)
    marginal = value(table, "MaNS, marginal noise (not comparable)", "cosine")
    assert marginal.difference is None, "never compared across noises"
    text = markdown(table)
    assert "**" not in text.split("## ")[1] and "<u>" not in text, "nothing is ranked"
    assert "n = 3 training seeds × 40 steps" in text and "| 0.12 | 0.21 |" in text
    assert "not of its negative" in text and "VideoPhy" not in text and "judge" not in text
    assert '"with_anchor": 2.0' in provenance(table)


def test_table_s4_ranks_the_lowest_first():
    table = built(S4, seconds, label="block")
    assert value(table, "flow matching alone", "memory_gb").best
    assert value(table, "SFT", "memory_gb").second and not value(table, "SFT", "memory_gb").best
    assert not any(value(table, "SFT", part).best for part in ("forward", "data"))
    change = value(table, "DiReCT", "seconds_per_iteration").difference
    assert change.low > 0 and change.mean == pytest.approx(0.011, rel=0.05), "paired by block"
    text = markdown(table)
    assert "Time (s/iter) ↓" in text and "Mem. (GB) ↓" in text and "↑" not in text
    assert "| 23.29 | 4.94 |" in text and "a processor" in text and "1,240,000 parameters" in text
