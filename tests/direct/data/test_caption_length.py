"""Captions that the text encoder does not take: left out, cut at a sentence, or an error."""

from __future__ import annotations

import pytest

from direct.common.errors import UserError
from direct.data.caption_length import cut, limited, surely_fits
from direct.data.wisa import LeftOut


def fits(text):
    return len(text.split()) <= 6


def clips():
    return [
        {"id": "short", "caption": "A ball falls."},
        {"id": "long", "caption": "A ball falls. It bounces twice. Then it rolls away slowly."},
        {"id": "endless", "caption": "a ball falls and bounces and rolls away"},
        {"id": "none", "left_out": LeftOut("no caption", "")},
    ]


def reasons(found):
    return {clip["id"]: clip["left_out"].args[0] for clip in found if "left_out" in clip}


LONG = "caption too long for the text encoder"


def test_drop_leaves_the_clips_out_by_name():
    found = limited(clips(), "drop", fits)
    assert [clip["id"] for clip in found] == ["short", "long", "endless", "none"]
    assert reasons(found) == {"long": LONG, "endless": LONG, "none": "no caption"}
    assert found[0] == clips()[0]


def test_truncate_keeps_whole_sentences():
    found = limited(clips(), "truncate", fits)
    assert found[1]["caption"] == "A ball falls. It bounces twice." and found[1]["caption_cut"]
    assert reasons(found) == {"endless": LONG, "none": "no caption"}
    assert found[0] == clips()[0], "what fits is not marked"


def test_error_names_the_first_clip_and_counts_the_others():
    with pytest.raises(UserError, match=r"clip long .* 2 of 3; .*drop or truncate"):
        limited(clips(), "error", fits)
    assert limited(clips()[:1], "error", fits) == clips()[:1]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("It is approx. two metres long. It falls down.", "It is approx. two metres long."),
        ('He says "no!" Then the cup breaks.', 'He says "no!"'),
        ("One. Balls of 1.5 kg fall at 2. 3 rise.", "One."),
        ("One ball falls. (Two of them rise.) Then three do.", "One ball falls."),
        ("a ball falls. it bounces. then it rolls away.", "a ball falls. it bounces."),
        ("a ball falls e.g. on st. two floors of it. it rolls.", None),
        ("a b c d e f g", None),
        ("a. b. c. d. e. f. g.", None),  # small letters: abbreviations
    ],
)
def test_where_sentences_end(text, kept):
    assert cut(text, fits) == kept


def test_what_surely_fits_is_counted_in_bytes():
    assert surely_fits("a ball", 8) and not surely_fits("a ball", 7)
    assert surely_fits("é", 4) and not surely_fits("é", 3)
    assert not surely_fits("\ufdfa", 12), "one letter that tokenizers write as 18"


def test_sentences_without_spaces():
    assert cut("球落下。球弹起。球滚", lambda text: len(text) < 9) == "球落下。球弹起。"
