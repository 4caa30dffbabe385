"""Answers of a language model that are rejected, and why."""

from __future__ import annotations

import pytest

from direct.prepare.usable import fault

PROMPT = "a red ball falls from the shelf and bounces on the floor"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a red ball falls slowly from the shelf and bounces on the floor", None),
        ("A red ball falls from the shelf and  bounces on the floor.", "echo"),
        ("", "empty"),
        ("... 12", "empty"),
        ("I'm sorry, but I can't help with that request about a ball.", "refusal"),
        ("As an AI, I cannot show a ball that breaks physical laws here", "refusal"),
        ('"a red ball rises from the shelf and bounces on the floor"', "quotes or a heading"),
        ("Modified caption: a red ball rises from the shelf to the floor", "quotes or a heading"),
        ("a red ball rises from the shelf\n\nNote: gravity is reversed", "quotes or a heading"),
        ("a red ball rises instead of falling from a shelf", "comparison with the original"),
        ("a red ball no longer falls from the shelf on the floor", "comparison with the original"),
        ("a red ball falls " + "very " * 30 + "slowly", "too long"),
        ("a ball rises", "too short"),
        ("a red ball falls, from the shelf; and bounces on the floor!", "echo"),
        ("My edit of it: a red ball falls from the shelf and bounces on the floor", "echo"),
        ("The red ball falls from a shelf and bounces on the floor", "echo"),
        ("As requested - a red ball falls from the shelf and bounces on the floor", "echo"),
        ("In this variant, a red ball falls from the shelf and bounces on the floor", "echo"),
        ("a red ball falls from the shelf and bounces on the floor (forces modified)", "echo"),
        ("a red ball falls from the shelf and bounces on the floor. Physics is violated.", "echo"),
        (f"{PROMPT} {PROMPT}", "echo"),
        (f"{PROMPT} in slow motion", None),
        (f"Without a sound, {PROMPT}", None),
        ("the modified caption has a red ball that rises from the shelf", "talk about the caption"),
        ("I would modify it to a red ball that rises from the shelf", "talk about the caption"),
        ("a red ball rises from the shelf (the force is changed)", "talk about the caption"),
        ("a red ball rises from the shelf. Explanation: it moves up", "talk about the caption"),
        ("a red ball rises from the shelf. The force was changed.", "talk about the caption"),
        ("a red ball rises from the shelf. This variant has no gravity", "talk about the caption"),
        ("Certainly, here you go: a red ball rises from the shelf", "talk about the caption"),
        ("[MODIFIED] a red ball rises from the shelf and bounces", "talk about the caption"),
        ("<b>a red ball</b> rises from the shelf and bounces", "talk about the caption"),
        ("修改后：a red ball rises from the shelf and bounces", "another language"),
        ("<think> a red ball rises from the shelf and bounces", "talk about the caption"),
        ("a red ball was seen before on the shelf and the floor", "repeat"),
    ],
)
def test_what_is_rejected(text, reason):
    seen = {"a red ball was seen before on the shelf and the floor"}
    assert fault(text, True, PROMPT, seen) == reason
    assert fault(text, False, PROMPT, seen) in (reason, "too long")


def test_a_sign_is_no_echo():
    warm, cold = "a ball of 5 degrees falls", "a ball of -5 degrees falls"
    assert fault(cold, True, warm, set()) is None


def test_a_comparison_of_the_caption_itself_is_no_leak():
    caption = "a man walks on his hands instead of his feet"
    changed = "a man walks slowly on his hands instead of feet"
    assert fault(changed, True, caption, set()) is None
    assert fault(PROMPT + " slowly", False, PROMPT, set()) == "too long"  # never ended
