"""Captions longer than the text encoder takes: their clips left out, the captions cut, or an error.

`data.long_captions` says which, for `curate`; what it changes is in data.content, and so in the
names of cells.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Any

from ..common.errors import UserError
from .wisa import Entry, LeftOut

Fits = Callable[[str], bool]

# The end of a sentence: not of an abbreviation, after which a small letter follows. In a caption
# without capitals: after a word of three letters or more.
SENTENCE = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s+[^\sa-z])|[。！？]")
SMALL = re.compile(r"(?<=\w{3})[.!?…]+[\"'”’)\]]*(?=\s)|[。！？]")


def limited(described: list[Entry], rule: str, fits: Fits) -> list[Entry]:
    """The described clips, those with long captions as the rule says: drop, truncate or error."""
    captions = {n: clip["caption"] for n, clip in enumerate(described) if "caption" in clip}
    long = {n for n, caption in captions.items() if not fits(caption)}
    if long and rule == "error":
        raise UserError(
            f"clip {described[min(long)]['id']} has a caption longer than model.text_length, as "
            f"have {len(long)} of {len(captions)}; shorten them, or set data.long_captions=drop or "
            "truncate"
        )
    return [_shortened(clip, rule, fits) if n in long else clip for n, clip in enumerate(described)]


def surely_fits(caption: str, tokens: int) -> bool:
    """Whether no tokenizer can make more of it: a token is a byte or more, but for both ends.

    Tokenizers write letters in Unicode's compatible form first.
    """
    return len(unicodedata.normalize("NFKC", caption).encode()) + 2 <= tokens


def cut(caption: str, fits: Fits) -> str | None:
    """As many whole sentences, from the first, as fit; None where the first does not."""
    sentence = SMALL if caption == caption.lower() else SENTENCE
    ends = [match.end() for match in sentence.finditer(caption)]
    return next((caption[:end] for end in reversed(ends) if fits(caption[:end])), None)


def _shortened(clip: Entry, rule: str, fits: Fits) -> dict[str, Any]:
    shorter = cut(clip["caption"], fits) if rule == "truncate" else None
    if shorter is None:
        reason = LeftOut("caption too long for the text encoder", f"{len(clip['caption'])} letters")
        return {"id": clip["id"], "left_out": reason}
    return clip | {"caption": shorter, "caption_cut": True}
