"""A table says whose scores it has, and which line the others are compared with."""

from dataclasses import replace

import pytest
from made_up import S3, build

from sweeps.ablations import ABLATIONS
from sweeps.table import judge_name


@pytest.mark.parametrize(
    ("judge", "name"), [("world", "world judge"), ("videophy", "VideoPhy"), ("sharpness",) * 2]
)
def test_a_judge_has_its_printed_name_and_a_plug_ins_its_own(judge, name):
    table = build(S3)
    assert judge_name(judge) == name
    config = replace(table.config, evaluate=replace(table.config.evaluate, judge=judge))
    assert replace(table, config=config).judge == f"{name}, {config.profile}"


def test_what_a_table_measures_itself_is_no_judges():
    assert build(ABLATIONS["cost"]).judge == "measured, tiny"


def test_the_baseline_is_a_line_of_the_table():
    table = build(S3)
    assert table.baseline.row.label == S3.baseline
    assert replace(table, lines=()).baseline is None
