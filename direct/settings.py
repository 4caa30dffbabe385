"""Settings of a configuration by dotted name: read, and changed to others that can be run."""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import replace
from functools import cache
from typing import Any, Literal

from .common.errors import UserError, nearest
from .config import Config, Plugins
from .plugins import carried
from .plugins.registry import entries
from .valid import CHOICES, RANGES, check

SHOWN = 80  # characters of a value in an error


def override(config: Config, *assignments: str) -> Config:
    """`config` with settings changed, as in `loss.lambda_hard=0.05`; typed, validated after all."""
    names: set[str] = set()
    for assignment in assignments:
        path, separator, text = assignment.partition("=")
        if not separator:
            raise UserError(
                f"--set {assignment[:SHOWN]} has no '='; write it as loss.lambda_hard=0.05"
            )
        path, text = path.strip(), text.strip()
        if path in names:
            raise UserError(f"--set {path[:SHOWN]} is given twice; leave one out")
        names.add(path)
        assignment = f"{path[:SHOWN]}={text[:SHOWN]}"  # as errors show it
        if path == "profile":  # it names folders, and what a setting's default is
            raise UserError(f"--set {assignment}: a profile is chosen with --profile")
        if path.partition(".")[0] in carried.sections(config.plugins):
            known = carried.flat(config.plugins)
            value = _parse(text, type(known[path]), assignment) if path in known else text
            config = replace(config, plugins=carried.changed(config.plugins, path, value))
        else:
            config = _replace(config, path.split("."), text, assignment)
    return validate(config)


def with_values(config: Config, values: dict[str, Any]) -> Config:
    """`config` with several settings changed by dotted name, as in `{"loss.lambda_hard": 0.05}`."""
    for path, value in values.items():
        *parents, leaf = path.split(".")
        if parents and parents[0] in carried.sections(config.plugins):
            config = replace(config, plugins=carried.changed(config.plugins, path, value))
            continue
        node: Any = config
        trail = []
        for name in parents:
            trail.append(node)
            node = _known(node, name, path)
        _known(node, leaf, path)
        node = replace(node, **{leaf: value})
        for name, parent in zip(reversed(parents), reversed(trail), strict=True):
            node = replace(parent, **{name: node})
        config = node
    return validate(config)


def _known(node: Any, name: str, path: str) -> Any:
    """The value of a field, or a `UserError` that names the nearest ones."""
    fields = {entry.name for entry in dataclasses.fields(node)} if _nested(node) else set[str]()
    if name in fields:
        return getattr(node, name)
    plugins = carried.sections(node.plugins) if isinstance(node, Config) else set[str]()
    raise UserError(f"{path} is not a setting; {nearest(name, fields | plugins)}")


def _nested(node: Any) -> bool:
    return dataclasses.is_dataclass(node) and not isinstance(node, type)


def settings(config: Any, prefix: str = "") -> dict[str, Any]:
    """Every setting by dotted name, plug-ins' own among them."""
    flat: dict[str, Any] = {}
    for entry in dataclasses.fields(config):
        value = getattr(config, entry.name)
        if isinstance(value, Plugins):
            flat |= carried.flat(value)
        elif dataclasses.is_dataclass(value):
            flat |= settings(value, f"{prefix}{entry.name}.")
        else:
            flat[prefix + entry.name] = value
    return flat


def _replace(node: Any, names: list[str], text: str, assignment: str) -> Any:
    known = {entry.name for entry in dataclasses.fields(node)} - {"plugins"}
    if names[0] not in known:
        if isinstance(node, Config):
            known |= carried.sections(node.plugins)
        name = names[0][:SHOWN]
        hint = " (a plug-in's file is named by DIRECT_PLUGINS)" * isinstance(node, Config)
        raise UserError(f"--set {assignment}: no setting {name!r}; {nearest(name, known)}{hint}")
    value = getattr(node, names[0])
    if dataclasses.is_dataclass(value) != (len(names) > 1):
        names_below = settings(value) if dataclasses.is_dataclass(value) else {names[0]: value}
        raise UserError(f"--set {assignment}: name one setting; known: {', '.join(names_below)}")
    if len(names) > 1:
        return replace(node, **{names[0]: _replace(value, names[1:], text, assignment)})
    kind = typing.get_type_hints(type(node))[names[0]]
    return replace(node, **{names[0]: _parse(text, kind, assignment)})


def _parse(text: str, kind: Any, assignment: str) -> Any:
    """`text` as a value of the annotated type."""
    origin, options = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        options = (*options, *_plugged(assignment.partition("=")[0].strip()))
        if text not in options:
            raise UserError(f"--set {assignment}: {nearest(text, options)}")
        return text
    if origin is tuple:
        parts = [part.strip() for part in text.split(",") if part]
        return tuple(_parse(part, options[0], assignment) for part in parts)
    if origin is types.UnionType:
        return None if text.lower() == "none" else _parse(text, options[0], assignment)
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise UserError(f"--set {assignment}: write true or false")
        return text.lower() == "true"
    try:
        return kind(text)
    except ValueError:
        raise UserError(
            f"--set {assignment}: {text[:SHOWN]!r} is not of type {kind.__name__}"
        ) from None


def seed_list(text: str) -> tuple[int, ...]:
    """The training seeds of an option's text, as 0,1,2: whole numbers, each once."""
    try:
        seeds = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UserError(
            f"--seeds {text[:SHOWN]} is not a list of whole numbers; write 0,1,2"
        ) from None
    if len(set(seeds)) < len(seeds) or min(seeds) < 0 or max(seeds) > RANGES["seed"][1]:
        raise UserError(
            f"--seeds {text[:SHOWN]} repeats a seed, or has a negative or a huge one; write 0,1,2"
        )
    return seeds


def _plugged(path: str) -> list[str]:
    """The plug-ins that may be a setting's value."""
    return [entry.name for entry in entries(CHOICES[path])] if path in CHOICES else []


@cache
def _real(kind: type[Any] = Config, prefix: str = "") -> tuple[str, ...]:
    """The settings that are real numbers."""
    found: list[str] = []
    for name, hint in typing.get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            found += _real(hint, f"{prefix}{name}.")
        elif hint is float:
            found.append(prefix + name)
    return tuple(found)


def validate(config: Config) -> Config:
    """`config`, if it can be run; else a `UserError` that names the setting and the fix.

    A whole number that stands for a real one becomes one: a cell's name is the hash of how its
    numbers are written, and 2 is not written as 2.0 is.
    """
    flat = settings(config)
    if whole := {name: float(flat[name]) for name in _real() if type(flat[name]) is int}:
        return with_values(config, whole)
    check(config, flat)
    return config
