"""Parts of a table are no wider and no higher than a page has room for."""

import pytest
from made_up import build

from sweeps.ablations import ABLATIONS
from sweeps.report import latex, tex_sizes
from sweeps.report.layout import blocks


@pytest.mark.slow
@pytest.mark.parametrize("name", list(ABLATIONS))
def test_parts_are_no_wider_and_no_higher_than_there_is_room(name):
    table = build(ABLATIONS[name])
    for block in blocks(table, latex.columns_of(table)):
        for piece in tex_sizes.divided(block, 500):
            columns = range(len(piece.columns))
            assert tex_sizes.width_of(piece, columns) <= tex_sizes.TEXTWIDTH or len(columns) == 2
            assert tex_sizes.height_of(piece) <= 500


def test_text_is_wider_the_more_there_is_of_it_and_an_index_has_no_underscore():
    assert tex_sizes.text_width("") == 0
    assert tex_sizes.text_width("λ_hard") == tex_sizes.text_width("λhard")
    assert tex_sizes.text_width("il.") < tex_sizes.text_width("abc") < tex_sizes.text_width("WMm")
