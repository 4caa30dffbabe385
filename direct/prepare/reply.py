"""The caption in a language model's reply: what wraps it is taken off where that is certain.

Wrappings are reasoning, a chat template's markers, a heading as "Modified caption:", a tag, a
bullet, quotes and Markdown, at the two ends of a reply. What still talks about the caption is for
`usable.fault`.
"""

from __future__ import annotations

import re

_THINK = r"(?:seed:)?(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflection|analysis)"
THOUGHT = re.compile(  # in tags, as <think>, [THINK] and ◁think▷; or in gpt-oss's channels
    rf"^.*[<\[◁]/{_THINK}[>\]▷]|[<\[◁]{_THINK}[>\]▷].*$"
    r"|^.*<\|channel\|>final<\|message\|>|<\|channel\|>.*$",
    re.DOTALL | re.IGNORECASE,
)
MARKER = re.compile(
    r"<\|[^<>|]{1,40}\|>|<｜[^<>｜]{1,40}｜>|</?s>|<(?:bos|eos|start_of_turn|end_of_turn)>"
    r"|\[/?INST\]"
)
SPEAKER = re.compile(
    r"^(?:assistant\s*[:\n]|(?:assistant|model)\s*(?:\n|$))", re.IGNORECASE
)  # whose turn begins
HEADING = re.compile(
    r"[*#\s]*(?:(?:sure|certainly|of course|okay|ok)\b[,.!:]*\s*)?"
    r"(?:here(?:'s|’s| is)\s+)?(?:(?:the|a|my|your)\s+)?"
    r"(?:(?:modified|altered|changed|new|revised|updated|rewritten|perturbed|physics-violating|final)"
    r"\s+)?"
    r"(?:caption|version|variant|prompt|description|modified|answer|response|output|result"
    r"|kinematics|forces|material|interaction|magnitude)(?:\s*\([^()]{1,40}\))?"
    r"(?:\s+(?:should|could|would|can|will|might|may)\s+(?:now\s+)?(?:read|be)|\s+reads?|\s+is)?"
    r"(?:\s+as\s+follows)?[*\s]*[:：][*\s]*",
    re.IGNORECASE,
)
BULLET = re.compile(r"(?:[-*•❖>]|\d+[.)])\s+")
FENCE = re.compile(r"```\w*\n(?P<inner>.*?)\n?```", re.DOTALL)
TAG = re.compile(r"<(\w+)>(?P<inner>.*)</\1>", re.DOTALL)
BOXED = re.compile(r"\\boxed\{(\\text\{)?(?P<inner>[^{}]*)(?(1)\})\}")
PAIRS = ('""', "''", "“”", "‘’", "«»", "「」", "『』", "``", "**", "__")


def caption(reply: str, prompt: str) -> str:
    """The reply without what wraps its caption; "" where it holds nothing else.

    A heading or quotes that the prompt has itself stay: they are part of the caption.
    """
    text, before = _spoken(THOUGHT.sub("", reply)), None
    while text != before:
        before = text
        for wrapping in (FENCE, TAG, BOXED):
            if match := wrapping.fullmatch(text):
                text = match["inner"].strip()
        for start in (HEADING, BULLET):
            if (match := start.match(text)) and not start.match(prompt):
                text = text[match.end() :].strip()
        if _unquoted(prompt) == prompt:
            text = _unquoted(text)
    return text


def _spoken(text: str) -> str:
    """The first text between the markers of a chat template; all of it where there is none."""
    parts = (SPEAKER.sub("", part.strip(), count=1).strip() for part in MARKER.split(text))
    return next((part for part in parts if part), "")


def _unquoted(text: str) -> str:
    """Without a pair of quotes, or of Markdown's emphasis, around all of it."""
    for pair in PAIRS:
        inner = text[1:-1]
        if len(text) > 2 and text[0] == pair[0] and text[-1] == pair[1]:
            once = not set(pair) & set(inner)
            return inner.strip() if once else _strong(text)
    return text


def _strong(text: str) -> str:
    """Without Markdown's ** around all of it."""
    inner = text[2:-2]
    bold = text.startswith("**") and text.endswith("**") and len(text) > 4 and "*" not in inner
    return inner.strip() if bold else text
