"""Templates, and what everything that they show goes through.

Text is escaped, and loses its control and bidirectional characters. Only what Python has marked as
`Markup` stands as it is: our style sheet, our script, our plots. A name that is not given is an
error. jinja2 is imported with the first page that is written: most commands write none.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from direct.common.text import plain

if TYPE_CHECKING:
    from jinja2 import Environment

FOLDER = Path(__file__).with_name("templates")


def fill(name: str, **values: Any) -> str:
    """The template `name` of `FOLDER` with these values."""
    return environment().get_template(name).render(values)


@cache
def environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    from .drawing import inline
    from .layout import runs

    made = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_shown,
    )
    made.filters.update(inline=inline, number=number, runs=runs, source=_source)
    for key, file in (("style", "page.css"), ("script", "page.js")):
        made.globals[key] = Markup((FOLDER / file).read_text())
    return made


def number(value: float) -> str:
    """At most two decimals: a hundredth of a pixel."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _shown(value: Any) -> Any:
    """Text as a page may show it. Printable text, such as a clip's picture, is that already."""
    if not isinstance(value, str) or hasattr(value, "__html__") or value.isprintable():
        return value
    return plain(value)


def _source(text: str) -> str:
    """The source expression by which a page's policy admits exactly this inline text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
