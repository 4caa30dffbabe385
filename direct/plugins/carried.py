"""Plug-ins as a configuration carries them: which, where they lie, what they are, their settings.

All of it is text, so that a configuration means the same in a process that has not loaded them.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from ..common.errors import UserError, nearest
from ..config import Config, Plugins
from .registry import Entry, entries, entry

TERMS = ("target", "term")


def at_hand() -> Plugins:
    """All that is loaded, with its settings' defaults."""
    found = entries()
    return Plugins(
        where=tuple(f"{e.name}={e.where}" for e in found),
        content=tuple(f"{e.kind} {e.name}={e.content}" for e in found),
        settings=tuple(_line(e.name, k, v) for e in found for k, v in sorted(e.settings.items())),
    )


def used(config: Config, terms: bool = True) -> Plugins:
    """Those that can change the configuration's result. terms: whether those of the loss can."""
    plugins = config.plugins
    if plugins == Plugins():
        return plugins
    names = {name for kind, name, _ in contents(plugins) if _is_used(config, kind, name, terms)}
    return Plugins(
        where=tuple(x for x in plugins.where if x.partition("=")[0] in names),
        content=tuple(x for x in plugins.content if x.split(" ")[1].partition("=")[0] in names),
        settings=tuple(x for x in plugins.settings if x.partition(".")[0] in names),
    )


def _is_used(config: Config, kind: str, name: str, terms: bool) -> bool:
    if kind in TERMS:
        return bool(terms and config.train.steps and values(config.plugins, name)["weight"])
    if kind == "family":  # whether it is the pipeline's own, only its files say
        return config.model.pipeline != "tiny"
    named = {
        "sampler": config.macro.sampling,
        "judge": config.evaluate.judge,
        "source": config.data.source,
        "profile": config.profile,
    }
    return named[kind] == name


def active(config: Config, *kinds: str) -> list[tuple[Entry, dict[str, Any]]]:
    """The loaded plug-ins of these kinds that the configuration uses, with their settings."""
    plugins = used(config)
    names = [name for kind, name, _ in contents(plugins) if kind in kinds]
    return [(found, values(plugins, name)) for name in names if (found := entry(name))]


def contents(plugins: Plugins) -> list[tuple[str, str, str]]:
    """(kind, name, fingerprint) of each."""
    split = [line.replace("=", " ").split(" ") for line in plugins.content]
    return [(kind, name, content) for kind, name, content in split]


def where(plugins: Plugins, name: str) -> str:
    """How a plug-in is found: its file, or "entry point NAME"."""
    return dict(line.split("=", 1) for line in plugins.where).get(name, "")


def values(plugins: Plugins, name: str) -> dict[str, Any]:
    """The settings of one plug-in."""
    start = f"{name}."
    return {k.removeprefix(start): v for k, v in flat(plugins).items() if k.startswith(start)}


def flat(plugins: Plugins) -> dict[str, Any]:
    """{"my_term.weight": 0.1}, of all plug-ins."""
    found = {}
    for line in plugins.settings:
        name, _, value = line.partition("=")
        found[name] = json.loads(value)
    return found


def sections(plugins: Plugins) -> set[str]:
    """The plug-ins by name: the first part of their settings' names."""
    return {name for _, name, _ in contents(plugins)}


def changed(plugins: Plugins, path: str, value: Any) -> Plugins:
    """One setting changed, as ("my_term.weight", 0.1); the value is of the type of its default."""
    known = flat(plugins)
    if path not in known:
        name = path.partition(".")[0]
        own = [setting for setting in known if setting.startswith(f"{name}.")]
        told = nearest(path, own) if own else f"{name} has no settings"
        raise UserError(f"{path} is not a setting; {told}")
    kind = type(known[path])
    fits = isinstance(value, bool) == (kind is bool)
    fits = fits and isinstance(value, (int, float) if kind is float else kind)
    if not fits:
        raise UserError(f"{path}={value!r} is not of type {kind.__name__}; its default says which")
    name, _, setting = path.partition(".")
    line = _line(name, setting, kind(value))
    lines = [line if x.partition("=")[0] == path else x for x in plugins.settings]
    return replace(plugins, settings=tuple(lines))


def pull(config: Config) -> float:
    """The sum of the target velocities' weights: what they add to the loss's curvature."""
    targets = [name for kind, name, _ in contents(config.plugins) if kind == "target"]
    return float(sum(values(config.plugins, name)["weight"] for name in targets))


def _line(name: str, setting: str, value: Any) -> str:
    return f"{name}.{setting}={json.dumps(value, ensure_ascii=False)}"
