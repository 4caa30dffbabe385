"""Every setting with its type, its value and its meaning: `python -m sweeps.run settings`.

The meaning is the comment that stands behind the setting in config.py, or above it.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import io
import textwrap
import tokenize
import typing
from functools import cache
from pathlib import Path
from typing import Any, Literal

from . import config as declared
from .common.errors import UserError, nearest
from .config import Config, Plugins
from .plugins import carried
from .plugins.registry import entry

WIDTH = 100  # columns


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting, in words."""

    name: str  # dotted, as --set takes it
    kind: str
    value: str
    meaning: str


def settings_of(config: Config) -> dict[str, list[Setting]]:
    """The settings by section, each plug-in's too; those of the whole are under ""."""
    found: dict[str, list[Setting]] = {"": []}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, Plugins):
            found |= {name: _plugged(value, name) for name in sorted(carried.sections(value))}
        elif dataclasses.is_dataclass(value):
            names = [inner.name for inner in dataclasses.fields(value)]
            found[field.name] = [_setting(value, name, f"{field.name}.") for name in names]
        elif field.name != "profile":
            found[""].append(_setting(config, field.name))
    return found


def explained(config: Config, section: str | None = None) -> str:
    """A page on all settings, or on one section's, with the profile's values."""
    sections = settings_of(config)
    if section is not None and section not in sections:
        raise UserError(
            f"settings {section} is not a section; {nearest(section, filter(None, sections))}"
        )
    chosen = [section] if section is not None else list(sections)
    parts = [f"Settings of the profile {config.profile}; change one with --set name=value."]
    for name in chosen:
        parts.append(f"{name or 'run'}: {_heading(config, name)}")
        parts += [_lines(setting) for setting in sections[name]]
    return "\n".join(parts)


def _heading(config: Config, section: str) -> str:
    if not section:
        return "All of a run."
    if plugin := entry(section):
        return f"{plugin.meaning} (plug-in: {plugin.kind})"
    about = type(getattr(config, section)).__doc__ or ""
    return about.strip().split("\n")[0]


def _plugged(plugins: Plugins, name: str) -> list[Setting]:
    """A plug-in's settings; a line "name: meaning" of its documentation explains one."""
    plugin = entry(name)
    text = (plugin and inspect.getdoc(plugin.function)) or ""
    told = dict(line.strip().split(": ", 1) for line in text.splitlines() if ": " in line)
    told.setdefault("weight", "of the term in the loss; 0 turns it off")
    return [
        Setting(f"{name}.{key}", _kind(type(value)), _shown(value), told.get(key, ""))
        for key, value in carried.values(plugins, name).items()
    ]


def _lines(setting: Setting) -> str:
    """Name, type and value on one line; the meaning below it, indented."""
    head = f"  {setting.name} = {setting.value}  ({setting.kind})"
    if not setting.meaning:
        return head
    return (
        head
        + "\n"
        + textwrap.fill(setting.meaning, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
    )


def _setting(node: Any, name: str, prefix: str = "") -> Setting:
    value = getattr(node, name)
    kind = _kind(typing.get_type_hints(type(node))[name])
    shown = _shown(value, kind)
    return Setting(prefix + name, kind, shown, _comments().get((type(node).__name__, name), ""))


def _shown(value: Any, kind: str = "") -> str:
    shown = ",".join(value) if isinstance(value, tuple) else str(value)
    text = kind == "text" or (not kind and isinstance(value, str))
    return f'"{shown}"' if text else shown.lower() if isinstance(value, bool) else shown


def _kind(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return " or ".join(typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return "several, separated by commas"
    return {float: "number", int: "whole number", bool: "true or false", str: "text"}[hint]


@cache
def _comments() -> dict[tuple[str, str], str]:
    """{(class, field): comment} of config.py."""
    text = Path(declared.__file__).read_text(encoding="utf-8")
    by_line = {
        token.start[0]: (token.string.lstrip("# "), token.line.lstrip().startswith("#"))
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
    }
    found = {}
    for node in ast.parse(text).body:
        if not isinstance(node, ast.ClassDef):
            continue
        for field in node.body:
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                found[node.name, field.target.id] = _comment(by_line, field)
    return found


def _comment(by_line: dict[int, tuple[str, bool]], field: ast.AnnAssign) -> str:
    above: list[str] = []
    line = field.lineno - 1
    while line in by_line and by_line[line][1]:
        above.insert(0, by_line[line][0])
        line -= 1
    lines = range(field.lineno, (field.end_lineno or field.lineno) + 1)
    behind = [by_line[n][0] for n in lines if n in by_line]
    return " ".join([*above, *behind])
