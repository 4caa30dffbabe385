"""The functions that users' files have registered, by kind and name."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ..common.errors import UserError
from ..common.fingerprint import definition
from ..config import Config
from .guard import guarded

F = TypeVar("F", bound=Callable[..., Any])
SETTINGS = (bool, int, float, str)  # types that a setting may have
GIVEN = {  # what a function of each kind is called with, besides its settings
    "target": ("seen",),
    "term": ("v", "seen"),
    "sampler": ("z", "labels", "laws"),
    "judge": (),
    "source": ("data",),
    "family": (),
    "profile": (),
}


@dataclass(frozen=True)
class Score:
    """How a metric of a judge is shown: `scale` times its value, to so many decimals."""

    title: str
    scale: float = 1.0
    decimals: int = 2
    better: int = 1  # 1: higher is better, -1: lower is; 0: neither
    group: str = ""  # the heading above the column; "": the judge's name

    def __post_init__(self) -> None:
        if self.better not in (-1, 0, 1):
            raise UserError(f"Score({self.title!r}): better={self.better!r} is not 1, -1 or 0")
        if type(self.decimals) is not int or self.decimals < 0:
            raise UserError(f"Score({self.title!r}): decimals={self.decimals!r} is not 0, 1, 2 ...")
        if isinstance(self.scale, bool) or not isinstance(self.scale, int | float):
            raise UserError(f"Score({self.title!r}): scale={self.scale!r} is not a number")


@dataclass(frozen=True)
class Entry:
    """One function that a file registered."""

    kind: str
    name: str
    function: Callable[..., Any]  # its errors are sentences (`guard`)
    where: str  # how a worker finds it: the file, or "entry point NAME"
    content: str  # fingerprint of the function and of all that it uses in its file
    settings: dict[str, Any] = field(default_factory=dict)  # names and defaults
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def meaning(self) -> str:
        """The first line of its documentation."""
        return (inspect.getdoc(self.function) or f"a {self.kind} of {self.where}").split("\n")[0]


_entries: dict[str, Entry] = {}
_origin: list[str] = []  # the entry point that is being loaded


def register(
    kind: str,
    function: F,
    settings: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
) -> F:
    """Adds a function under its own name and returns it as it is."""
    name = getattr(function, "__name__", "")
    path = Path(inspect.getsourcefile(function) or "")
    content = definition(path, name) if path.is_file() else None
    if content is None:
        raise UserError(
            f"the {kind} {name!r} is not a function at the top level of a file, so no worker could "
            "find it; define it with def in a .py file"
        )
    where = _origin[-1] if _origin else str(path.resolve())
    known = _entries.get(name)
    if known and known.where != where:
        raise UserError(f"{name} is registered by {known.where} and by {where}; rename one of them")
    if name in {entry.name for entry in dataclasses.fields(Config)}:
        raise UserError(f"{where}: {name} is a section of the settings; rename the {kind}")
    own = (settings or {}) | _parameters(name, function)
    _check_arguments(kind, name, function)
    safe = guarded(f"the {kind} {name}", function)
    _entries[name] = Entry(kind, name, safe, where, content, own, options or {})
    return function


def entries(*kinds: str) -> list[Entry]:
    """What is registered of these kinds, or of all, in the order of names."""
    return [e for _, e in sorted(_entries.items()) if not kinds or e.kind in kinds]


def entry(name: str) -> Entry | None:
    return _entries.get(name)


@contextmanager
def origin(name: str) -> Iterator[None]:
    """Of what is registered inside, `where` says this instead of its file."""
    _origin.append(name)
    try:
        yield
    finally:
        _origin.pop()


def _check_arguments(kind: str, name: str, function: Callable[..., Any]) -> None:
    """A function that could not be called would fail where it is used: after a training."""
    try:
        inspect.signature(function).bind(*GIVEN[kind])
    except TypeError as error:
        wanted = ", ".join((*GIVEN[kind], "*, setting=1"))
        raise UserError(
            f"the {kind} {name} cannot be called as {name}({', '.join(GIVEN[kind])}): {error}; "
            f"define it as {name}({wanted}), settings behind the star"
        ) from None


def _parameters(name: str, function: Callable[..., Any]) -> dict[str, Any]:
    """The keyword-only parameters and their defaults: its settings."""
    found = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind != parameter.KEYWORD_ONLY:
            continue
        if type(parameter.default) not in SETTINGS:
            raise UserError(
                f"{name}({parameter.name}=...): a setting needs a default that is a number, true "
                "or false, or a text"
            )
        found[parameter.name] = parameter.default
    return found
