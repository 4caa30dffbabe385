"""VideoPhy's second convention: clips are generated from up-sampled captions, judged by the short.

The up-sampled captions are a JSON object {caption: longer caption}; the environment variable
`DIRECT_CAPTIONS` names the file for cells whose `evaluate.captions` is `upsampled`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..common.errors import UserError
from ..common.files import digest, read_json
from ..config import Config

FILE = "DIRECT_CAPTIONS"


def prompts(config: Config, captions: Sequence[str]) -> list[str]:
    """What each clip is generated from."""
    if config.evaluate.captions == "short":
        return list(captions)
    longer = _given()
    pinned = "" if config.evaluate.prompts_file else config.evaluate.content  # source checks both
    if pinned and pinned != digest(longer):
        raise UserError(f"{FILE} has changed since this cell was named; put the file back")
    return [longer_of(longer, caption) for caption in captions]


def content(config: Config) -> str:
    """Names the captions that are generated from, where the benchmark itself does not."""
    return "" if config.evaluate.captions == "short" else digest(_given())


def read(path: Path) -> dict[str, str]:
    longer = read_json(path)
    if not isinstance(longer, dict) or not all(isinstance(v, str) and v for v in longer.values()):
        raise UserError(f'{path} is not of the form {{"caption": "up-sampled caption", ...}}')
    return longer


def longer_of(longer: dict[str, str] | None, caption: str) -> str:
    """The caption's up-sampled one; itself where none are given at all."""
    if longer is None:
        return caption
    if caption not in longer:
        raise UserError(f"no up-sampled caption is given for {caption[:60]!r}; add it to the file")
    return longer[caption]


def _given() -> dict[str, str]:
    if FILE not in os.environ:
        raise UserError(
            f"evaluate.captions=upsampled needs {FILE}=FILE.json, {{caption: up-sampled caption}}"
        )
    return read(Path(os.environ[FILE]))
