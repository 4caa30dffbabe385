"""What wraps a caption in a model's reply is taken off, and nothing of the caption itself."""

from __future__ import annotations

import pytest

from direct.prepare.reply import caption

PROMPT = "a red ball falls from the shelf and bounces on the floor"
TEXT = "a red ball rises from the shelf and bounces on the floor"


@pytest.mark.parametrize(
    "reply",
    [
        "{}",
        "  {}\n",
        "<think></think> {}",
        "<think>\nfalls becomes rises\n</think>\n\n{}",
        "falls becomes rises\n</think>\n{}",  # the template opened it
        "{}<|im_end|>",
        "{}</s>",
        "{}<|im_end|>\n<|im_start|>user\nThank you.<|im_end|>",
        "<|im_start|>assistant\n{}<|im_end|>",
        "<start_of_turn>model\n{}<end_of_turn>",
        "assistant\n\n{}",
        "The modified caption should read: {}",
        "Modified caption: {}",
        "MODIFIED: {}",
        "Output: {}",
        "**Modified Caption:** {}",
        '**Modified Caption**: "{}"',
        "Sure! Here's the modified caption:\n\n{}",
        "Here is a physics-violating variant: {}",
        '"{}"',
        "“{}”",
        "*{}*",
        "**{}**",
        "`{}`",
        "```text\n{}\n```",
        '<think>hm</think>Modified caption: "{}"<|im_end|>',
        "<reasoning>falls becomes rises</reasoning>\n{}",
        "[THINK]falls becomes rises[/THINK]{}",
        "◁think▷falls becomes rises◁/think▷{}",
        "<|channel|>analysis<|message|>falls<|end|><|start|>assistant"
        "<|channel|>final<|message|>{}<|return|>",
        "Assistant: {}",
        "Modified Caption (FORCES): {}",
        "FORCES: {}",
        "### Response:\n{}",
        "Final answer: {}",
        "「{}」",
        "Modified caption：{}",
        "<answer>\n{}\n</answer>",
        "\\boxed{{{}}}",
        "\\boxed{{\\text{{{}}}}}",
        "- {}",
        "1. {}",
        "> {}",
    ],
)
def test_the_caption_comes_out_alone(reply):
    assert caption(reply.format(TEXT), PROMPT) == TEXT


@pytest.mark.parametrize(
    "reply",
    [
        *("", "<think>it rises, so", "<think></think>", "<|im_end|>", "<reasoning>it rises"),
        "<|channel|>analysis<|message|>it rises, so",
    ],
)
def test_a_reply_without_a_caption_is_empty(reply):
    assert caption(reply, PROMPT) == ""


@pytest.mark.parametrize(
    "text",
    [
        f"{TEXT}\n\nNote: gravity is reversed",
        '"Stop" says a man to "Jane"',
        "a man's ball rises: it is 'light'",
        "a ball of mass <5 kg> rises",
        "two * signs * rise",
    ],
)
def test_what_is_not_certain_stays(text):
    assert caption(text, PROMPT) == text


def test_what_the_prompt_has_itself_is_part_of_the_caption():
    assert caption('"Rise!" it says', '"Fall!" it says') == '"Rise!" it says'
    assert caption('"a ball rises"', '"a ball falls"') == '"a ball rises"'
    assert caption("Caption: a ball rises", "Caption: a ball falls") == "Caption: a ball rises"
