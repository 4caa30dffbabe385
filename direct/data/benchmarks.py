"""The prompts of the benchmarks whose judges run outside this process.

The 344 VideoPhy test captions beside this file are those of `videophysics/videophy_test_public`
(Bansal et al., 2024, MIT licence). WorldModelBench has no licence: its file is the user's.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..common.files import digest, read_bounded, read_json

VIDEOPHY = Path(__file__).with_name("videophy_test.csv")
WORLDMODELBENCH = "DIRECT_WORLDMODELBENCH"  # names the user's worldmodelbench.json


@dataclass(frozen=True)
class Prompt:
    """One prompt of a benchmark: what is generated, and what else the judge needs to know."""

    id: str
    caption: str
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The clip's file name without its ending: the id, or its hash if it is no plain name."""
        plain = re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", self.id)
        return self.id if plain else digest(self.id, 24)


def videophy(path: Path | None = None) -> list[Prompt]:
    """The 344 test prompts, or those of a CSV with the columns caption and states_of_matter."""
    path = Path(path or VIDEOPHY)
    rows = rows_of(read_given(path), path)
    if not rows or not {"caption", "states_of_matter"} <= set(rows[0]):
        raise UserError(f"{path} needs the columns caption and states_of_matter and a row or more")
    for number, row in enumerate(rows, 1):
        if not row["caption"] or row["states_of_matter"] is None:
            raise UserError(f"{path}: prompt {number} lacks its caption or its state; complete it")
    return [
        Prompt(f"videophy-{n:03d}", row["caption"], {"states_of_matter": row["states_of_matter"]})
        for n, row in enumerate(rows)
    ]


def worldmodelbench(path: Path | None = None) -> list[Prompt]:
    """The prompts of the user's worldmodelbench.json, at `path` or $DIRECT_WORLDMODELBENCH."""
    chosen = path or os.environ.get(WORLDMODELBENCH)
    if not chosen:
        raise UserError(
            f"WorldModelBench's prompts may not be shipped; "
            f"set {WORLDMODELBENCH} to its worldmodelbench.json"
        )
    entries = read_json(Path(chosen))
    fields = ("first_frame", "text_first_frame", "text_instruction", "domain")
    for number, entry in enumerate(entries if isinstance(entries, list) else [None], 1):
        texts = isinstance(entry, dict) and [type(entry.get(x)) for x in fields]
        if texts != [str] * len(fields):
            raise UserError(
                f"{chosen} is not worldmodelbench.json: entry {number} lacks one of the texts "
                f"{', '.join(fields)}"
            )
    return [
        Prompt(
            Path(entry["first_frame"]).stem,
            f"{entry['text_first_frame']} {entry['text_instruction']}",
            {"domain": entry["domain"], "instruction": entry["text_instruction"]},
        )
        for entry in entries
    ]


def read_given(path: Path) -> str:
    """The text of a file that a person gave; a `UserError` where it is none."""
    try:
        return read_bounded(Path(path)).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}); give a file of UTF-8 text") from None


def rows_of(text: str, path: Path) -> list[dict[str, Any]]:
    """The rows of a CSV text with a header; a `UserError` where it is none."""
    try:
        return list(csv.DictReader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise UserError(f"{path} is no CSV file ({error}); repair it") from None


PROMPTS: dict[str, Callable[..., list[Prompt]]] = {  # by evaluate.judge
    "videophy": videophy,
    "worldmodelbench": worldmodelbench,
}
