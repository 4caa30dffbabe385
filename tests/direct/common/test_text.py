"""Text from outside, made safe to print."""

from direct.common.text import plain


def test_what_a_terminal_would_obey_becomes_a_blank():
    assert plain("a\x1b[31mred\x07") == "a [31mred "
    assert plain("one\ntwo\r") == "one two "
    assert plain("abc\u202edcba\u2066") == "abc dcba "  # bidirectional overrides
    assert plain("half \ud800 of a pair") == "half   of a pair"


def test_letters_of_every_script_and_signs_stay():
    text = "Ångström, 水 in Ελλάδα: 3 × 10⁻⁶ – “ok” \u0301"
    assert plain(text) == text
