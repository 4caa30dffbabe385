"""Whether a language model's answer is a usable caption: a change of the prompt, and no talk."""

from __future__ import annotations

import re

from ..negatives import micro

LONGER, SLACK = 1.5, 8  # an answer has at most LONGER times the prompt's words, plus SLACK
SHORTER = 0.5

REFUSAL = re.compile(
    r"^\W*(i'?m sorry|i am sorry|sorry|i can(no|')t|i am unable|i'm unable|i apologi[sz]e|as an ai|"
    r"unfortunately)\b",
    re.IGNORECASE,
)
COMPARISON = re.compile(
    r"\b(instead of|rather than|unlike|as opposed to|in contrast to|no longer|compared (?:to|with)|"
    r"than (?:before|usual|normal|expected|in the original)|original(?:ly)?|contrary to)\b",
    re.IGNORECASE,
)
TALK = re.compile(
    r"\b(?:modified|altered|revised|rewritten|updated|changed|physics-violating)"
    r"\s+(?:caption|version|variant|prompt|description)\b|\bcaptions?\b"
    r"|</?\w[\w:-]*>|<\||\\(?:boxed|text)\b|\bthis (?:version|variant|change)\b|\bas requested\b"
    r"|^\W*(?:sure|certainly|of course|absolutely|okay|ok|let's see|let me)\b|\[\w+\]"
    r"|\b(?:explanation|rationale|reason|note)\s*:|\bnote that\b"
    r"|\b(?:is|are|was|were|been) (?:changed|modified|altered|violated)\b"
    r"|\bI (?:would|will|have|can|could|changed|modified|altered)\b"
    r"|\([^()]*\b(?:changed|modified|altered|violat\w+)\b[^()]*\)",
    re.IGNORECASE,
)
SCRIPT = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")  # of China, Japan and Korea
# Where an answer has only these beside the caption's own words, nothing in it has changed.
ABOUT = frozenset(
    """
    and or of in to is are as for this that here it its s with only note sure certainly ok okay
    below above following follows requested instructed answer output result respond assistant video
    clip original modified altered changed new revised rewritten updated physics violating violated
    violates violation variant version caption description prompt axis aspect dimension kinematics
    forces force material interaction magnitude
    """.split()  # noqa: SIM905
)
WORDS = re.compile(r"(?<!\w)[+-](?=\d)|\w+")
DECORATION = re.compile(
    r"""^\W*(modified|original|altered|new|caption|here is|here's|sure)\b[^.]{0,40}:"""
    r"""|^["'“‘`*].*["'”’`*]\W?$""",
    re.IGNORECASE | re.DOTALL,
)


def fault(text: str, complete: bool, prompt: str, seen: set[str]) -> str | None:
    """Why an answer is no usable caption, `None` if it is one. `seen`: normal forms before it."""
    words, expected = len(text.split()), len(prompt.split())
    leaked = {m.lower() for m in COMPARISON.findall(text)}
    if not re.search(r"[^\W\d_]", text):
        return "empty"
    if REFUSAL.search(text):
        return "refusal"
    if _echoes(text, prompt):
        return "echo"
    if SCRIPT.search(text) and not SCRIPT.search(prompt):
        return "another language"
    if "\n" in text.strip() or (DECORATION.search(text) and not DECORATION.search(prompt)):
        return "quotes or a heading"
    if TALK.search(text) and not TALK.search(prompt):
        return "talk about the caption"
    if leaked - {m.lower() for m in COMPARISON.findall(prompt)}:
        return "comparison with the original"
    if not complete or words > LONGER * expected + SLACK:
        return "too long"
    if words < SHORTER * expected:
        return "too short"
    return "repeat" if micro.normal(text) in seen else None


def _echoes(text: str, prompt: str) -> bool:
    """Whether it is the prompt under any heading, or with nothing beside it but talk about it."""
    whole, words = _words(prompt), _words(text)
    talk = whole in words and ABOUT.issuperset(words.replace(whole, "").split()) if whole else False
    return talk or whole == _words(text.partition(":")[2])


def _words(text: str) -> str:
    """The words without articles, each between two spaces."""
    words = (word for word in WORDS.findall(text.lower()) if word not in ("a", "an", "the"))
    return "".join(f" {word} " for word in words)
