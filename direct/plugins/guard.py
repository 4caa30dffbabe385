"""Errors of a user's code: one sentence with the plug-in, the file and the line."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from ..common.errors import UserError, no_space


def guarded(what: str, function: Any) -> Callable[..., Any]:
    """The function, whose errors become a `UserError` with their place. what: "the judge mine"."""
    if not callable(function):
        raise UserError(f"{what} returned {type(function).__name__}; return a function")
    file = Path(inspect.getsourcefile(inspect.unwrap(function)) or "").resolve()

    @wraps(function)
    def call(*args: Any, **settings: Any) -> Any:
        try:
            return function(*args, **settings)
        except Exception as error:
            if isinstance(error, UserError) or no_space(error):
                raise
            raise UserError(f"{what} ({file.name}) failed: {told(error, file)}") from error

    return call


def line_of(error: BaseException, file: Path) -> int | None:
    """The line of an imported file that an error comes from, where it is in the file."""
    line = error.lineno if isinstance(error, SyntaxError) else None
    trace = error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == str(file):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def told(error: Exception, file: Path) -> str:
    """What went wrong, and in which line of the file."""
    line = line_of(error, file)
    at = f" (line {line})" if line else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{at}"
