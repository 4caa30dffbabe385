"""Finding and importing the files that register plug-ins, in this process and in a worker.

A worker imports what its cell's configuration names, and only where the definition that lies there
is the one that the cell was planned with.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from ..common.errors import UserError
from ..common.files import digest
from ..common.fingerprint import definition
from ..config import Config
from . import carried
from .guard import told
from .registry import entry, origin

GROUP, POINT = "direct.plugins", "entry point "
VARIABLE = "DIRECT_PLUGINS"  # files that every command loads, separated as in $PATH

_modules: dict[Path, ModuleType] = {}


def load(path: Path | str) -> ModuleType:
    """Imports a user's file, once, and gives its module; what it registers is known from then on.

    The files beside it can be imported from it. Raises UserError, in one sentence, for a file that
    is missing or whose code fails.
    """
    file = Path(path).expanduser().resolve()
    if file in _modules:
        return _modules[file]
    if not file.exists():
        raise UserError(f"the plug-in file {path} does not exist; check the path")
    if not file.is_file() or file.suffix != ".py":
        raise UserError(f"{path} is not a Python file; give one, as my_experiment.py")
    name = f"{file.stem}_{digest(str(file), 8)}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec and spec.loader  # of every .py file
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, UserError) or not isinstance(error, Exception):
            raise
        raise UserError(f"{path} cannot be imported: {told(error, file)}") from error
    _modules[file] = module
    return module


def loaded() -> list[Path]:
    """The files that were imported, for processes that this one starts."""
    return list(_modules)


@cache
def installed() -> None:
    """Loads the files of $DIRECT_PLUGINS and the entry points of installed packages, once."""
    for path in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
        load(path)
    for point in metadata.entry_points(group=GROUP):
        _load_point(point)


def need(config: Config) -> Config:
    """Loads what the configuration uses and is not loaded yet; returns the configuration.

    Raises UserError where it is not here, or is not what the configuration was made with.
    """
    plugins = carried.used(config)
    for kind, name, content in carried.contents(plugins):
        known = entry(name)
        if known is None or known.content != content:
            _find(kind, name, content, carried.where(plugins, name))
    return config


def _find(kind: str, name: str, content: str, where: str) -> None:
    what = f"the {kind} {name}"
    if where.startswith(POINT):
        for point in metadata.entry_points(group=GROUP, name=where.removeprefix(POINT)):
            _load_point(point)
        known = entry(name)
        if known is None:
            raise UserError(f"{what} is not here: no installed package has the {where}; install it")
        found: str | None = known.content
    else:
        path = Path(where)
        if not where or not path.is_file():
            raise UserError(
                f"{what} is not here: there is no file {where or 'named'}; copy it to this machine"
            )
        found = definition(path, name)
    if found != content:
        raise UserError(
            f"{what} of {where} is not the one that this cell was planned with "
            f"({found or 'absent'}, not {content}); restore it, or plan the sweep again"
        )
    if not where.startswith(POINT):
        _modules.pop(Path(where), None)  # of a version before
        load(where)


def _load_point(point: Any) -> None:
    with origin(f"{POINT}{point.name}"):
        try:
            point.load()
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"the entry point {point.name} ({point.value}) of {GROUP} cannot be loaded: "
                f"{type(error).__name__}: {error}; repair or uninstall its package"
            ) from error
