"""A table in one sentence and one picture."""

from dataclasses import replace

import pytest
from made_up import BASE, S3, build, line

from sweeps import tables
from sweeps.ablations import ABLATIONS
from sweeps.report.summary import summary
from sweeps.schema import cells


def test_what_was_shown_and_what_could_have_been(table_s3):
    found = summary(table_s3)
    d = line(table_s3, "0.1").values["PC"].difference
    least, most = (100 * end(table_s3.detectable.values()) for end in (min, max))
    assert found.sentence.startswith("Against λ_hard = 0.02: 0.005 -1.")
    assert f"0.1 +7.94 SA, {100 * d.mean:+.2f} PC" in found.sentence
    size = f"{least:.2f} to {most:.2f}"
    assert f"could have shown PC differences of {size} points." in found.sentence
    assert [label for label, _ in found.rows] == ["0.005", "0.1"] and found.more == 0


def test_a_row_without_the_pictures_metrics_is_counted_and_not_drawn_empty(table_s3):
    other = line(table_s3, "0.005")
    bare = replace(other, values={"AVG": other.values["AVG"]})
    lines = [bare if x is other else x for x in table_s3.lines]
    found = summary(replace(table_s3, lines=lines))
    assert [label for label, _ in found.rows] == ["0.1"] and found.more == 1


def test_the_picture_is_to_scale(table_s3):
    found = summary(table_s3)
    assert found.panels == (("SA", "10"), ("PC", "10"))
    value = line(table_s3, "0.1").values["PC"]
    bar = dict(found.rows)["0.1"][1]
    assert bar.mean == pytest.approx(50 + 50 * 100 * value.difference.mean / 10)
    assert 0 <= bar.low < bar.mean < bar.high <= 100 and bar.kind == "found"
    assert bar.text.startswith(f"PC: {100 * value.difference.mean:+.2f} [")


def test_the_base_stands_apart():
    found = summary(build(ABLATIONS["lambda_anc"]))
    assert found.sentence.startswith("No difference from λ_anc = 0.2 was shown.")
    assert "Apart, for it is not trained, zero-shot: +" in found.sentence
    assert "zero-shot" not in dict(found.rows)
    one = build(ABLATIONS["sampling"])
    apart = one.detectable["Zero-shot"] * 100
    others = 100 * max(x for label, x in one.detectable.items() if label != "Zero-shot")
    assert f" to {others:.2f} points" in summary(one).sentence
    assert f"{others:.2f}" != f"{apart:.2f}", "the base's is another"
    against = summary(build(ABLATIONS["sota"], seeds=(0, 1)))
    assert [label for label, _ in against.rows] == ["DiReCT (ours)"], "the base is the partner"


def test_a_table_without_contrasts_shows_all_differences_and_one_without_results_says_so():
    bare = summary(tables.tested(build(replace(S3, contrasts=())), ()))
    assert len(bare.rows) == 3 and {bar.kind for _, bars in bare.rows for bar in bars} == {"open"}
    empty = tables.build(S3, cells(S3, BASE, (0, 1, 2)), {})
    assert summary(empty) == type(bare)("No results yet.")


@pytest.mark.slow
def test_it_is_short_for_every_table():
    for name, declared in ABLATIONS.items():
        found = summary(build(declared, seeds=(0, 1)))
        assert 0 < len(found.sentence) < 500, name
        assert len(found.rows) <= 6 and len(found.panels) <= 2
